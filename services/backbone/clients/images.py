"""ImageClient: stores pictures in the imageserver.

The contract: `GET /asset/<key>/available`, `GET /assets/images/<key>`, and `POST /assets/upload_with_sha/<key>` or
`POST /assets/upload` with the bytes of a picture as the body and the credentials of a service. The response is the path
of the picture, which clients store and complete with a size. An upload may be sent again: a key keeps its first
picture, and equal bytes are stored once.
"""

from typing import Final

from services.backbone.clients.errors import RequestRefused, ServiceFailed, ServiceUnavailable
from services.backbone.clients.own_service import ServiceClient

ImageUnavailable = ServiceUnavailable
"""Raised while the picture is not accepted: no connection, a full queue, or no volume. Send it again later."""
ImageFailed = ServiceFailed
"""Raised when the imageserver fails at this request, or its volume is full. Other requests may succeed."""
ImageRejected = RequestRefused
"""Raised when the picture itself is rejected: its type, its size, or it is broken. To send it again does not help."""

_NOT_FOUND: Final = 404


class ImageClient(ServiceClient):
    """Sends pictures. An async context manager."""

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        attempts: int = 3,
        timeout_s: float = 15.0,
        max_connections: int = 4,
    ) -> None:
        """Limit each step of a request (connect, read) to `timeout_s`. `credentials` are for HTTP Basic.

        An upload waits for a worker, is decoded and is written before the response begins.
        """
        super().__init__(
            url, credentials=credentials, attempts=attempts, timeout_s=timeout_s, max_connections=max_connections
        )

    async def find(self, key: str) -> str | None:
        """Return the path of the picture of a key: 64 hexadecimal digits. None if there is none.

        Raises ImageUnavailable, ImageFailed or ImageRejected, as all methods do.
        """
        response = await self._client.send("GET", f"{self._url}/asset/{key}/available", also=frozenset({_NOT_FOUND}))
        return None if response.status == _NOT_FOUND else response.body.decode()

    async def read(self, key: str) -> bytes | None:
        """Return the original picture of a key or number as JPEG or PNG. None if there is none."""
        response = await self._client.send("GET", f"{self._url}/assets/images/{key}", also=frozenset({_NOT_FOUND}))
        return None if response.status == _NOT_FOUND else response.body

    async def upload(self, content: bytes, *, key: str | None = None) -> str:
        """Store a picture, and return its path. The first picture of a key stays."""
        path = "/assets/upload" if key is None else f"/assets/upload_with_sha/{key}"
        headers = {"Content-Type": "application/octet-stream"}
        return (await self._client.send("POST", f"{self._url}{path}", content, headers)).body.decode()
