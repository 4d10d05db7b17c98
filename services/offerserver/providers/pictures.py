"""PictureFetcher: fetches pictures from the sources that name them."""

import datetime as dt
from http import HTTPStatus

from services.backbone.outgoing import (
    BodyRefused,
    DownloadLimits,
    OutgoingClient,
    OutgoingDownload,
    OutgoingFailed,
    OutgoingRefused,
)
from services.offerserver.core.exchanges import MOST_REDIRECTS, origin_of, redirect_of, retry_after_s
from services.offerserver.providers.fetching import HostTurns


class PictureNotFetched(Exception):
    """The source did not return the picture. The message is the reason."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """The seconds that the source asks to wait. 0: it asks for none."""


class PictureFetcher:
    """Fetches pictures, each with one attempt: a later run tries again.

    It takes the turns of hosts like FeedFetcher, and each address of a redirect is checked like the first one.
    """

    def __init__(
        self, client: OutgoingClient, turns: HostTurns, *, user_agent: str, delay_s: float, max_bytes: int
    ) -> None:
        self._client = client
        self._turns = turns
        self._headers = {"User-Agent": user_agent, "Accept": "image/*"}
        self._delay_s = delay_s
        self._limits = DownloadLimits(max_bytes)

    async def fetch(self, url: str) -> bytes:
        """Return the bytes of a picture. Whether they are one, the imageserver decides.

        Raises PictureNotFetched, or RedisError of the turns.
        """
        try:
            for _ in range(MOST_REDIRECTS + 1):
                async with self._turns.turn(origin_of(url), delay_s=self._delay_s):
                    found = await self._client.download("GET", url, limits=self._limits, headers=self._headers)
                target = redirect_of(url, found.status, found.headers.get("Location", ""))
                if target is None:
                    return _content(found)
                url = target
        except (OutgoingFailed, OutgoingRefused, BodyRefused) as error:
            raise PictureNotFetched(str(error)) from error
        except ValueError as error:
            raise PictureNotFetched(f"the redirect is refused: {error}") from error
        except TimeoutError as error:
            raise PictureNotFetched("another request to this host has not ended") from error
        raise PictureNotFetched(f"more than {MOST_REDIRECTS} redirects")


def _content(found: OutgoingDownload) -> bytes:
    if found.status != HTTPStatus.OK:
        wait_s = retry_after_s(found.headers.get("Retry-After", ""), dt.datetime.now(dt.UTC))
        raise PictureNotFetched(f"status {found.status}", wait_s)
    if found.is_cut:
        raise PictureNotFetched("the response ended early")
    return found.body
