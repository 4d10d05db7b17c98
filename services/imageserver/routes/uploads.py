"""The routes of uploads: receive, decode and encode anew, write to the volume, publish by one write."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from services.backbone.logs import get_logger
from services.imageserver.core.assets import Asset
from services.imageserver.core.keys import image_path, is_digest
from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.pixels.picture import Picture, file_of
from services.imageserver.routes.context import ImageContext
from services.imageserver.routes.receiving import ReceivedUpload, receive
from services.imageserver.store.volume import is_full, new_name

log = get_logger(__name__)

_MAX_ATTEMPTS: Final = 16
"""Deletions of the same asset may cross an upload this often."""


class UploadRoutes:
    """Uploads, with and without the key of a caller."""

    def __init__(self, context: ImageContext) -> None:
        self._context = context
        self._receiving = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each digest in work, so that equal uploads at once are decoded once."""

    async def upload(self, request: Request) -> Response:
        """Store a picture. Return its path, whose id is the SHA-256 of the uploaded bytes."""
        return await self._respond(request, None)

    async def upload_with_key(self, key: str, request: Request) -> Response:
        """Store a picture under the key of the caller. A key that names an asset already keeps it."""
        if not is_digest(key):
            raise ImageRefused(RefusalReason.INVALID_KEY)
        return await self._respond(request, key.lower())

    async def _respond(self, request: Request, key: str | None) -> Response:
        context = self._context
        context.pool.require_place()
        if self._receiving >= context.settings.max_uploads:
            raise ImageRefused(RefusalReason.QUEUE_FULL)
        directory = Path(tempfile.mkdtemp(dir=context.scratch))
        try:
            self._receiving += 1
            try:
                received = await receive(request, directory / "upload", context.settings)
            finally:
                self._receiving -= 1
            deadline_s = asyncio.get_running_loop().time() + context.settings.store_timeout_s
            lock = self._locks.setdefault(received.digest, asyncio.Lock())
            async with _refused_after(deadline_s, RefusalReason.QUEUE_FULL):
                await lock.acquire()
            try:
                await self._store(received, directory, None if key == received.digest else key, deadline_s)
            finally:
                lock.release()
        except OSError as error:
            # On the volume, or on the local disk for uploads in work.
            if not is_full(error):
                raise
            log.warning("disk_full", file=error.filename)
            raise ImageRefused(RefusalReason.VOLUME_FULL) from None
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return PlainTextResponse(image_path(key or received.digest))

    async def _store(self, received: ReceivedUpload, directory: Path, key: str | None, deadline_s: float) -> None:
        """Publish an upload, unless its bytes are published or its key is taken. Raises ImageRefused."""
        outcomes, made = self._context.metrics.uploads, None
        for _ in range(_MAX_ATTEMPTS):
            if (known := await self._find_known(received.digest, key)) is not None:
                outcomes.labels(known).inc()
                return
            if made is None:
                async with _refused_after(deadline_s, RefusalReason.QUEUE_FULL):
                    made = await self._context.pool.make(received.path, directory)
            reason = late_write(asyncio.get_running_loop().time(), deadline_s, self._context.settings.store_timeout_s)
            async with _refused_after(deadline_s, reason):
                name = await self._write(made, directory)
            if await self._publish(received, made, name, key):
                outcomes.labels("stored").inc()
                return
        raise ImageRefused(RefusalReason.QUEUE_FULL)

    async def _find_known(self, digest: str, key: str | None) -> str | None:
        """Return `known` if the bytes are published, also under the key, `key_taken` if the key names others."""
        assets = self._context.assets
        holder = await assets.find(digest if key is None else key)
        if key is None and holder is not None and holder.id != digest:
            return None  # it is a key of another asset
        if holder is not None:
            outcome = "known" if holder.id == digest else "key_taken"
            return outcome if await assets.confirm(holder) else None
        return "known" if key is not None and await assets.add_key(digest, key) else None

    async def _write(self, made: Picture, directory: Path) -> str:
        """Write the files under a fresh name, and return it."""
        context, name = self._context, new_name()
        try:
            for size, types in made.files.items():
                for image_type in types:
                    source = file_of(directory, size, image_type)
                    await context.writing.run(context.volume.write, source, name, size, image_type)
        except OSError:
            await self._remove_strays(name)
            raise
        return name

    async def _publish(self, received: ReceivedUpload, made: Picture, name: str, key: str | None) -> bool:
        """Publish the files of a name. Remove them and return False if another upload was first."""
        context = self._context
        asset = Asset(
            id=received.digest,
            name=name,
            keys=() if key is None else (key,),
            files=made.files,
            width=made.width,
            height=made.height,
            uploaded_format=made.format,
            uploaded_bytes=received.size,
            created_ms=context.now_ms(),
        )
        # If this write fails, the database may have the document all the same, so the files stay. If it has not, the
        # sweep removes them.
        if await context.assets.publish(asset):
            return True
        await self._remove_strays(name)
        return False

    async def _remove_strays(self, name: str) -> None:
        """Remove files that are not published. If that fails, the sweep removes them."""
        with contextlib.suppress(OSError, ImageRefused):
            await self._context.writing.run(self._context.volume.remove, name)


def late_write(now_s: float, deadline_s: float, store_timeout_s: float) -> RefusalReason:
    """Return why a write that begins now is refused at its deadline: because of the longer of its two steps.

    If its picture took most of the time, the workers were busy. Otherwise the volume does not respond.
    """
    return RefusalReason.VOLUME_AWAY if deadline_s - now_s > store_timeout_s / 2 else RefusalReason.QUEUE_FULL


@contextlib.asynccontextmanager
async def _refused_after(deadline_s: float, reason: RefusalReason) -> AsyncIterator[None]:
    """Raise ImageRefused for a reason if the block has not ended at a time of the event loop."""
    try:
        async with asyncio.timeout_at(deadline_s):
            yield
    except TimeoutError:
        raise ImageRefused(reason) from None
