"""StorageClient: the requests of the action consumers to storage.

The contract: `POST /store/geo` as a form, `POST /<offers or searches>/<id>/notify` and
`POST /bulk/notify_searchers/<owner>`, with the credentials of a service. Each of them may be sent again.
"""

from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from services.backbone.clients.own_service import OwnServiceClient, RequestRefused, ServiceFailed, ServiceUnavailable

StorageUnavailable = ServiceUnavailable
"""Raised while storage can't be reached. Send the request again later."""
StorageFailed = ServiceFailed
"""Raised when storage fails at this request. Other requests may succeed."""
StorageRefused = RequestRefused
"""Raised when storage rejects the request itself. To send it again does not help."""


class StorageClient:
    """Sends requests, each once: its caller sends them again. An async context manager."""

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        timeout_s: float = 10.0,
        max_connections: int = 4,
    ) -> None:
        """Limit each step of a request (connect, read) to `timeout_s`. `credentials` are for HTTP Basic."""
        self._url = url.rstrip("/")
        self._client = OwnServiceClient(
            credentials=credentials, attempts=1, timeout_s=timeout_s, max_connections=max_connections
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def store_fix(self, device: str, *, latitude: float, longitude: float, accuracy_m: float, at_ms: int) -> None:
        """Move the mobile objects of a device. storage ignores a fix that is older than the one it has.

        Raises StorageUnavailable, StorageFailed or StorageRefused, as all methods do.
        """
        numbers = {"lt": repr(latitude), "lg": repr(longitude), "a": repr(accuracy_m), "ts": str(at_ms)}
        await self._post("/store/geo", [("di", device), *numbers.items()])

    async def match_object(self, collection: Literal["offers", "searches"], object_id: str) -> None:
        """Match one object now. An unknown object is no error."""
        await self._post(f"/{collection}/{quote(object_id, safe='')}/notify")

    async def notify_searchers(self, owner: str) -> None:
        """Match the active and valid offers of an owner again."""
        await self._post(f"/bulk/notify_searchers/{quote(owner, safe='')}")

    async def _post(self, path: str, form: list[tuple[str, str]] | None = None) -> None:
        await self._client.post(f"{self._url}{path}", form or b"", {"User-Agent": "push"})
