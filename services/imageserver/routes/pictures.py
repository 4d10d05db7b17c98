"""The routes of readers: a picture in a size, and whether it exists; and its deletion."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException

from services.backbone.logs import get_logger
from services.imageserver.core.assets import Asset, etag_of, file_name
from services.imageserver.core.conditions import ByteRange, UnsatisfiableRange, is_not_modified, parse_range
from services.imageserver.core.keys import image_path, parse_key
from services.imageserver.core.negotiation import choose_type
from services.imageserver.core.refusals import ImageRefused
from services.imageserver.core.sizes import MEDIA_TYPES, parse_size
from services.imageserver.routes.context import ImageContext
from services.imageserver.routes.errors import failure_response
from services.imageserver.routes.slow_clients import ABORT
from services.imageserver.store import FileGone

log = get_logger(__name__)

_PIECE_BYTES: Final = 262_144
_ABORTED: Final = "aborted"
"""The reason in metrics of a read that broke off after its status."""
_ABORT_S: Final = 5.0
_ONE_YEAR: Final = "public, max-age=31536000, immutable"
_SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class PictureRoutes:
    """Pictures by id or key."""

    def __init__(self, context: ImageContext) -> None:
        self._context = context
        context.metrics.refused.labels(_ABORTED)

    async def available(self, key: str) -> Response:
        """Return the path of an asset, or 404."""
        await self._find(key)
        return PlainTextResponse(image_path(key), headers={"Cache-Control": "no-store"})

    async def read(self, key: str, request: Request, size: str = "original") -> Response:
        """Return a picture in a size, in the encoding that the client prefers."""
        wanted = parse_size(size)
        if wanted is None:
            raise HTTPException(404)
        asset = await self._find(key)
        types = asset.files[wanted]
        image_type = choose_type(request.headers.get("accept", ""), types)
        etag, length = etag_of(asset, wanted, image_type), types[image_type]
        headers = {
            **_SAFE_HEADERS,
            "ETag": etag,
            "Vary": "Accept",
            "Accept-Ranges": "bytes",
            "Cache-Control": self._cache_control(asset, key),
        }
        if is_not_modified(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = MEDIA_TYPES[image_type]
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(length)})
        try:
            part = parse_range(request.headers.get("range"), request.headers.get("if-range"), etag=etag, size=length)
        except UnsatisfiableRange:
            text, total = f"The picture has {length} bytes.", {"Content-Range": f"bytes */{length}"}
            return failure_response(416, "unsatisfiable_range", text, total)
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{length}"
        path = file_name(asset.name, wanted, image_type)
        return await self._send(request, path, part or ByteRange(0, length), length, headers)

    async def delete(self, key: str) -> Response:
        """Delete an asset with all its keys. Return 204, or 404."""
        await self._delete(key)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def delete_by_post(self, key: str, request: Request) -> Response:
        """Delete an asset with all its keys. Return 204, or for a browser a redirect to the list."""
        deleted = await self.delete(key)
        return RedirectResponse("/assets", 303) if "text/html" in request.headers.get("accept", "") else deleted

    async def _find(self, key: str) -> Asset:
        parsed = parse_key(key)
        asset = None if parsed is None else await self._context.assets.find(parsed)
        if asset is None:
            raise HTTPException(404)
        return asset

    def _cache_control(self, asset: Asset, key: str) -> str:
        if asset.id == key.lower():
            return _ONE_YEAR
        return f"public, max-age={self._context.settings.key_max_age_s}, must-revalidate"

    async def _send(
        self, request: Request, path: str, part: ByteRange, size: int, headers: Mapping[str, str]
    ) -> Response:
        """Send a part of a file. Its first piece is read before the status is sent, so that a failure is a 503."""
        end = min(part.end, part.start + _PIECE_BYTES)
        try:
            first = await self._read(path, part.start, end, size)
        except FileGone:
            # The asset was deleted a moment ago, or the volume has lost a file; then the sweep reports it.
            log.warning("file_gone", path=path)
            raise HTTPException(404) from None
        status = 206 if "Content-Range" in headers else 200
        if end == part.end:
            return Response(first, status, headers)
        whole = {**headers, "Content-Length": str(part.end - part.start)}
        return StreamingResponse(self._pieces(request, path, first, ByteRange(end, part.end), size), status, whole)

    async def _pieces(
        self, request: Request, path: str, first: bytes, rest: ByteRange, size: int
    ) -> AsyncIterator[bytes]:
        """Yield the pieces of a body. If the volume fails in between, close the connection: the status is sent."""
        yield first
        try:
            for start in range(rest.start, rest.end, _PIECE_BYTES):
                yield await self._read(path, start, min(rest.end, start + _PIECE_BYTES), size)
        except (FileGone, OSError, ImageRefused) as error:
            log.warning("read_aborted", path=path, error=str(error)[:200])
            self._context.metrics.refused.labels(_ABORTED).inc()
            request.scope["extensions"][ABORT]["call"]()
            await asyncio.sleep(_ABORT_S)  # the response is cancelled when the connection is closed

    async def _read(self, path: str, start: int, end: int, size: int) -> bytes:
        context = self._context
        return await context.reading.run(context.volume.read, path, start, end - start, size=size)

    async def _delete(self, key: str) -> None:
        asset = await self._find(key)
        # The sweep counts the age of the files from now on. After the write to the database, a sweep could already
        # remove them, while readers have not finished. So while the volume is away, nothing is deleted.
        await self._context.writing.run(self._context.volume.touch, asset.files, asset.name)
        if not await self._context.assets.unpublish(asset):
            raise HTTPException(404)
