"""The errors of a request to another service. By them, the caller decides whether it sends the request again."""

from typing import Final

RETRY_LATER: Final = frozenset({401, 403, 404, 405, 408, 425, 429})
"""The 4xx that another configuration or another time changes. The other ones reject the request itself."""


class ServiceUnavailable(Exception):
    """The service did not accept the request. It may have stored it. Send it again later under the same id."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """Seconds until the service accepts requests again, for example after a rate limit. 0: not known."""


class ServiceFailed(ServiceUnavailable):
    """The service was reached and failed at this request (500). Other requests may succeed."""


class RequestRefused(Exception):
    """The service rejects this request. To send it again does not help."""
