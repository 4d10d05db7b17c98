"""Receive an upload: write its bytes to a local file while they come, within limits on size and time."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.settings import Settings

if TYPE_CHECKING:  # the module defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

_FORM_BYTES: Final = 65_536
"""The most bytes of a form besides its file: other fields, headers and boundaries."""
_MAX_HEADER_BYTES: Final = 8_192
_MAX_CONTENT_TYPE_CHARACTERS: Final = 1_000
FILE_FIELD: Final = b"file"


class ReceivedUpload(NamedTuple):
    """The bytes of an upload in a local file."""

    path: Path
    digest: str
    """Their SHA-256 in hexadecimal digits."""
    size: int


class _Sink:
    """Writes bytes to a local file, and computes their digest."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._size = 0
        # The file is local, and a write goes to the memory of the kernel: a thread would cost more than it.
        self._file = path.open("wb", buffering=262_144)

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise ImageRefused(RefusalReason.TOO_MANY_BYTES)
        self._digest.update(piece)
        self._file.write(piece)

    def close(self) -> ReceivedUpload:
        self._file.close()
        return ReceivedUpload(self._path, self._digest.hexdigest(), self._size)


class _FormFile:
    """Feeds the file of a form to a sink. Other fields are ignored, and so are its file name and Content-Type."""

    def __init__(self, boundary: bytes, sink: _Sink) -> None:
        self._sink = sink
        self._name = bytearray()
        self._value = bytearray()
        self._is_file = False
        self._found = False
        self._received = self._received_of_file = 0
        self.is_complete = False
        """The form had a file, and its closing boundary has arrived. A body that was cut off has none."""
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, piece: bytes) -> None:
        self._parser.write(piece)
        self._received += len(piece)
        if self._received - self._received_of_file > _FORM_BYTES:
            raise ImageRefused(RefusalReason.NO_FILE)

    def _on_part_begin(self) -> None:
        self._is_file = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._append(self._name, data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._append(self._value, data[start:end])

    def _append(self, text: bytearray, piece: bytes) -> None:
        text += piece
        if len(text) > _MAX_HEADER_BYTES:
            raise ImageRefused(RefusalReason.NO_FILE)

    def _on_header_end(self) -> None:
        if bytes(self._name).lower() == b"content-disposition" and not self._found:
            _, options = parse_options_header(bytes(self._value))
            self._is_file = self._found = options.get(b"name") == FILE_FIELD
        self._name.clear()
        self._value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._received_of_file += end - start
            self._sink.write(data[start:end])

    def _on_end(self) -> None:
        self.is_complete = self._found


async def receive(request: Request, path: Path, settings: Settings) -> ReceivedUpload:
    """Write the upload to `path`: the field `file` of a multipart form, or else the body. Raises ImageRefused."""
    kind, options = parse_options_header(request.headers.get("content-type", "")[:_MAX_CONTENT_TYPE_CHARACTERS])
    is_form = kind.strip().lower() == b"multipart/form-data"
    most = settings.max_bytes + (_FORM_BYTES if is_form else 0)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > most:
        raise ImageRefused(RefusalReason.TOO_MANY_BYTES)
    sink = _Sink(path, settings.max_bytes)
    try:
        if is_form:
            await _receive_form(request, options.get(b"boundary", b""), sink, most, settings)
        else:
            async for piece in _pieces(request, most, settings):
                sink.write(piece)
    finally:
        received = sink.close()
    return received


async def _receive_form(request: Request, boundary: bytes, sink: _Sink, most: int, settings: Settings) -> None:
    try:
        form = _FormFile(boundary, sink)
        async for piece in _pieces(request, most, settings):
            form.write(piece)
    except (FormParserError, ValueError):
        raise ImageRefused(RefusalReason.NO_FILE) from None
    if not form.is_complete:
        raise ImageRefused(RefusalReason.NO_FILE)


async def _pieces(request: Request, most: int, settings: Settings) -> AsyncIterator[bytes]:
    """Yield the body. Raises ImageRefused if it is too large, stalls, is slow, or takes too long in all."""
    begun_s, received, stream = time.monotonic(), 0, request.stream()
    while True:
        left_s = settings.upload_timeout_s - (time.monotonic() - begun_s)
        try:
            async with asyncio.timeout(min(settings.upload_stall_s, left_s)):
                piece = await anext(stream, None)
        except TimeoutError:
            raise ImageRefused(RefusalReason.TOO_SLOW) from None
        if piece is None:
            return
        received += len(piece)
        if received > most:
            raise ImageRefused(RefusalReason.TOO_MANY_BYTES)
        seconds = time.monotonic() - begun_s
        if seconds > settings.upload_stall_s and received < settings.upload_least_rate * seconds:
            raise ImageRefused(RefusalReason.TOO_SLOW)
        yield piece
