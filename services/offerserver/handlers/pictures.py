"""PictureLoader: takes pictures from their sources to the imageserver."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from redis.exceptions import RedisError

from services.backbone.clients import ImageClient, ImageFailed, ImageRejected, ImageUnavailable
from services.backbone.logs import get_logger
from services.offerserver.core.exchanges import origin_of
from services.offerserver.core.picture_names import picture_key
from services.offerserver.core.pictures import (
    LackingOffer,
    LoadedPictures,
    PictureAttempt,
    PictureCounts,
    PictureLink,
    PictureMemory,
    due_urls,
    next_memory,
    picture_counts,
    picture_links,
    picture_remarks,
)
from services.offerserver.core.values import Rejection
from services.offerserver.providers.pictures import PictureFetcher, PictureNotFetched

log = get_logger(__name__)

_HOSTS: Final = 4
"""The most hosts at a time. Each has one request at a time."""


class PictureLoader:
    """Loads pictures within a time limit. No failure of a picture stops the others."""

    def __init__(self, fetcher: PictureFetcher, images: ImageClient, *, longest_s: float) -> None:
        """Limit a call of `load` to `longest_s`: a run must end within its own limit."""
        self._fetcher = fetcher
        self._images = images
        self._longest_s = longest_s

    async def load(self, urls: Sequence[str]) -> LoadedPictures:
        """Store pictures under the digests of their URLs, and return what became of each that was tried.

        A picture that the imageserver has is not fetched. If it does not respond, no further picture is tried. A call
        that is cancelled or killed can be repeated: an upload of a known key changes nothing. Raises RedisError.
        """
        loaded = LoadedPictures()
        hosts: dict[str, list[str]] = {}
        for url in urls:
            hosts.setdefault(origin_of(url), []).append(url)
        free = asyncio.Semaphore(_HOSTS)
        tasks = [asyncio.create_task(self._load_host(part, loaded, free)) for part in hosts.values()]
        try:
            async with asyncio.timeout(self._longest_s):
                await asyncio.gather(*tasks)
        except TimeoutError:
            log.warning("pictures_out_of_time", tried=len(loaded.attempts), wanted=len(urls))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return loaded

    async def _load_host(self, urls: Sequence[str], loaded: LoadedPictures, free: asyncio.Semaphore) -> None:
        async with free:
            for url in urls:
                if loaded.unavailable:
                    return
                try:
                    loaded.attempts[url] = await self._load(url)
                except ImageUnavailable as error:
                    loaded.unavailable = str(error)
                    log.warning("imageserver_unavailable", reason=str(error))

    async def _load(self, url: str) -> PictureAttempt:
        """Return what became of a picture. Raises ImageUnavailable or RedisError."""
        key = picture_key(url)
        try:
            if await self._images.find(key) is not None:
                return PictureAttempt("known")
            await self._images.upload(await self._fetcher.fetch(url), key=key)
        except PictureNotFetched as error:
            return PictureAttempt("not_fetched", str(error), error.wait_s)
        except ImageRejected as error:
            return PictureAttempt("rejected", f"the imageserver does not accept it: {error}")
        except ImageFailed as error:
            return PictureAttempt("not_stored", f"the imageserver failed: {error}")
        except (ImageUnavailable, RedisError):
            raise
        except Exception as error:  # what a foreign server can cause costs this picture, not the run
            log.exception("picture_failed", key=key)
            return PictureAttempt("not_fetched", f"an error of this service: {type(error).__name__}")
        return PictureAttempt("uploaded")


class RunPictures(msgspec.Struct, frozen=True):
    """What a run did about pictures."""

    memory: PictureMemory | None = None
    """None: it did not look at them, so what is remembered stays."""
    counts: PictureCounts = PictureCounts()
    remarks: tuple[Rejection, ...] = ()


async def load_lacking(
    loader: PictureLoader | None,
    lacking: Sequence[LackingOffer],
    before: PictureMemory,
    *,
    now_ms: int,
    is_whole: bool,
) -> tuple[list[PictureLink], RunPictures]:
    """Load the pictures that offers lack. Return the changes of the offers, and what the run records.

    Without a loader, a later run with one loads them. Raises RedisError.
    """
    urls = due_urls(lacking, before, now_ms)
    loaded = LoadedPictures() if loader is None else await loader.load(urls)
    memory = next_memory(lacking, loaded, before, now_ms, is_whole=is_whole)
    if loader is None:
        return [], RunPictures(memory)
    links = picture_links(lacking, loaded)
    counts = picture_counts(loaded, linked=len(links), tried=urls)
    return links, RunPictures(memory, counts, tuple(picture_remarks(lacking, loaded, memory)))
