"""BodyDecoder: the body of a response without its content coding, within limits. Pure: no I/O."""

import zlib
from typing import Final, NamedTuple

ACCEPTED_CODINGS: Final = "gzip, deflate"
"""The value of Accept-Encoding. Others, such as br, are not decoded: no library of theirs limits its output."""
_RATIO_FROM_BYTES: Final = 1_048_576
"""The ratio counts from this size on: the first bytes of a small text can have a high one."""
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_PIECE_BYTES: Final = 65_536


class DownloadLimits(NamedTuple):
    """The limits of a body."""

    max_bytes: int
    """After decompression."""
    max_ratio: int = 200
    """Decompressed to received bytes. JSON and XML of real feeds have up to 50, a bomb 1,000."""
    is_begin_enough: bool = False
    """Whether the first `max_bytes` of a larger body are kept. Else the body is refused."""


class BodyRefused(Exception):
    """The body is too large, or is not compressed as it was asked for. The message is the reason."""


class BodyDecoder:
    """Takes the pieces of a body. `content` has what was decoded."""

    def __init__(self, coding: str, limits: DownloadLimits) -> None:
        """Reject other codings than gzip and deflate by BodyRefused."""
        name = coding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BodyRefused(f"the content coding {name[:40]!r} was not asked for")
        self._limits = limits
        self._is_deflate = name == "deflate"
        self._decompressor = None if name in ("", "identity") else zlib.decompressobj(_GZIP_OR_ZLIB)
        self.content = bytearray()
        self.received_bytes = 0
        self.is_full = False
        """Whether the begin of a larger body was kept. The rest need not be read."""

    @property
    def is_complete(self) -> bool:
        """Whether the compressed data has ended. True for a body without compression."""
        return self._decompressor is None or self._decompressor.eof

    def add(self, piece: bytes) -> None:
        """Decode a piece. Raises BodyRefused, also for data that is not compressed as declared."""
        self.received_bytes += len(piece)
        if self._decompressor is None:
            self._keep(piece)
            return
        try:
            self._decompress(piece)
        except zlib.error as error:
            raise BodyRefused(f"the body is not compressed as declared: {error}") from None

    def _decompress(self, piece: bytes) -> None:
        assert self._decompressor is not None  # noqa: S101 - for mypy
        if self._is_deflate and not self.content and piece and self.received_bytes == len(piece):
            # Some servers send deflate without the header of zlib, which RFC 9110 asks for.
            is_zlib = piece[0] & 0x0F == zlib.DEFLATED
            self._decompressor = self._decompressor if is_zlib else zlib.decompressobj(_RAW_DEFLATE)
        while not self._decompressor.eof and not self.is_full:
            decoded = self._decompressor.decompress(piece, _PIECE_BYTES)
            self._keep(decoded)
            piece = self._decompressor.unconsumed_tail
            if not piece and len(decoded) < _PIECE_BYTES:  # else it may have more of it
                break

    def _keep(self, decoded: bytes) -> None:
        self.content += decoded
        size = len(self.content)
        if size > self._limits.max_bytes and self._limits.is_begin_enough:
            del self.content[self._limits.max_bytes :]
            self.is_full = True
            return
        if size > self._limits.max_bytes:
            raise BodyRefused(f"the body has more than {self._limits.max_bytes} bytes")
        if size > _RATIO_FROM_BYTES and size > self._limits.max_ratio * self.received_bytes:
            raise BodyRefused(f"the body has more than {self._limits.max_ratio} times its compressed size")
