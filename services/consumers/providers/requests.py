"""Provider: requests to a provider within its rate limit, and what all providers' errors have in common."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol

from services.backbone.clients import RETRY_LATER, RequestRefused, ServiceFailed, ServiceUnavailable
from services.backbone.outgoing import OutgoingClient, OutgoingFailed, OutgoingRefused, OutgoingResponse

_AWAY: Final = RETRY_LATER | {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_RETRY_HEADERS: Final = ("Retry-After", "X-RateLimit-RetryAfter")
_LONGEST_RETRY_S: Final = 3600
_OVERLOADED_S: Final = 10.0
"""The wait after a 429 that names none. With a known time, the action makes no attempt (store/scripts.py, UNDONE)."""
_SHORT_WAIT_S: Final = 1.0
"""A limit that has room so soon is waited for. If the handler waited instead, all its actions would be sent again each
second, while it has more of them than the limit permits."""
_MOST_DIGITS: Final = 9


class RequestLimit(Protocol):
    """A limit of requests."""

    async def take(self, cost: int = 1) -> float:
        """Count a request of this cost. Return 0, or the seconds until there is room; then nothing was counted."""

    async def close(self, for_s: float) -> None:
        """Permit no request for so long."""


class Provider:
    """Sends requests to one provider."""

    def __init__(self, name: str, client: OutgoingClient, limit: RequestLimit) -> None:
        self._name = name
        self._client = client
        self._limit = limit

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        cost: int = 1,
    ) -> OutgoingResponse:
        """Send a request and return its response, whatever its status is.

        Raises ServiceUnavailable without a complete response, and while the limit leaves no room.
        """
        wait_s = await self._limit.take(cost)
        if 0.0 < wait_s <= _SHORT_WAIT_S:
            await asyncio.sleep(wait_s)
            wait_s = await self._limit.take(cost)
        if wait_s:
            raise self.unavailable("the rate limit is reached", wait_s=wait_s)
        try:
            response = await self._client.request(method, url, body=body, headers=headers)
        except (OutgoingFailed, OutgoingRefused) as error:
            raise self.unavailable(str(error)) from error
        if response.is_cut:
            raise self.unavailable("the response is not complete")
        return response

    async def check_status(self, response: OutgoingResponse) -> None:
        """Return after a 2xx. Raises ServiceUnavailable, ServiceFailed (other 5xx) or RequestRefused (other 4xx).

        A redirect is not followed: like a 404, it is the response of an API that was moved, or of a wrong URL.
        """
        status = response.status
        if status in _AWAY or HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            wait_s = _retry_after_s(response.headers)
            if not wait_s and status == HTTPStatus.TOO_MANY_REQUESTS:
                wait_s = _OVERLOADED_S
            if wait_s:
                await self._limit.close(wait_s)
            raise self.unavailable(f"status {status}", wait_s=wait_s)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServiceFailed(f"{self._name}: status {status}")
        if status >= HTTPStatus.BAD_REQUEST:
            raise RequestRefused(f"{self._name}: status {status}")

    async def close(self, for_s: float) -> None:
        """Send no request for so long, because the provider rejects them."""
        await self._limit.close(for_s)

    def unavailable(self, reason: str, *, wait_s: float = 0.0) -> ServiceUnavailable:
        """Return the error for a provider that can't be reached."""
        return ServiceUnavailable(f"{self._name}: {reason}", wait_s=wait_s)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that a header names, 0 without one. A date counts as none."""
    for name in _RETRY_HEADERS:
        text = headers.get(name, "").strip()
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
            return float(min(int(text), _LONGEST_RETRY_S))
    return 0.0
