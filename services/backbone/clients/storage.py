"""StorageClient: the requests of the action consumers and of the importers to storage.

The contract: `POST /store/geo` as a form, `POST /<offers or searches>/<id>/notify`,
`POST /bulk/notify_searchers/<owner>`, `GET /chat/byids`, `GET` and `POST /bulk/offers`,
`GET /bulk/extdata/<owner>`, with the credentials of a service. All but a bulk request that creates offers without ids
may be sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from services.backbone.clients.errors import ServiceFailed
from services.backbone.clients.own_service import ServiceClient

_Response = TypeVar("_Response")


class ReadOffer(msgspec.Struct, frozen=True):
    """The fields of an offer that the actions need."""

    id: str = msgspec.field(name="_id")
    owner: str
    extdata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What its importer knows of it. Free JSON."""
    valid_until_ms: int | None = msgspec.field(name="validuntil", default=None)
    """None: for ever."""


class _Offers(msgspec.Struct):
    offers: list[ReadOffer]


class _Data(msgspec.Struct):
    data: list[ReadOffer]


class ExtdataOffer(msgspec.Struct, frozen=True):
    """The id, the end, the pictures and some names of `extdata` of an offer."""

    id: str = msgspec.field(name="_id")
    extdata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    valid_until_ms: int | None = msgspec.field(name="validuntil", default=None)
    images: tuple[str | None, ...] = ()
    """The paths of its pictures in the imageserver. Old offers have None among them."""


class _Documents(msgspec.Struct):
    data: list[msgspec.Raw]


class _ExtdataOffers(msgspec.Struct):
    data: list[ExtdataOffer]


class _Result(msgspec.Struct):
    status: str


class _Results(msgspec.Struct):
    results: list[_Result]


class StorageClient(ServiceClient):
    """Sends requests, each once: its caller sends them again. An async context manager."""

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        timeout_s: float = 10.0,
        max_connections: int = 4,
    ) -> None:
        """Send each request once. See ServiceClient."""
        super().__init__(url, credentials=credentials, attempts=1, timeout_s=timeout_s, max_connections=max_connections)

    async def store_fix(self, device: str, *, latitude: float, longitude: float, accuracy_m: float, at_ms: int) -> None:
        """Move the mobile objects of a device. storage ignores a fix that is older than the one it has.

        Raises ServiceUnavailable, ServiceFailed or RequestRefused, as all methods do.
        """
        numbers = {"lt": repr(latitude), "lg": repr(longitude), "a": repr(accuracy_m), "ts": str(at_ms)}
        await self._post("/store/geo", [("di", device), *numbers.items()])

    async def match_object(self, collection: Literal["offers", "searches"], object_id: str) -> None:
        """Match one object now. An unknown object is no error."""
        await self._post(f"/{collection}/{quote(object_id, safe='')}/notify")

    async def notify_searchers(self, owner: str) -> None:
        """Match the active and valid offers of an owner again."""
        await self._post(f"/bulk/notify_searchers/{quote(owner, safe='')}")

    async def offers_of_chat(self, ids: Sequence[str]) -> list[ReadOffer]:
        """Return those of the ids that are offers, in their order. Neither validity nor owner matters."""
        body = await self._get("/chat/byids", {"_id": "_".join(ids)})
        return _decoded(body, _Offers).offers

    async def offers_in_box(
        self, owner: str, *, south: float, west: float, north: float, east: float
    ) -> list[ReadOffer]:
        """Return all offers of an owner in a box, also inactive ones and those out of their validity.

        The corners are in degrees. `west` > `east`: the box crosses the antimeridian.
        """
        corners = {
            "sw[latitude]": repr(south),
            "sw[longitude]": repr(west),
            "ne[latitude]": repr(north),
            "ne[longitude]": repr(east),
        }
        body = await self._get(f"/bulk/offers/{quote(owner, safe='')}", corners)
        return _decoded(body, _Data).data

    async def offer_extdata(self, owner: str, names: Sequence[str]) -> list[ExtdataOffer]:
        """Return all offers of an owner with these names of `extdata`: letters, digits and underscores."""
        body = await self._get(f"/bulk/extdata/{quote(owner, safe='')}", {"names": ",".join(names)})
        return _decoded(body, _ExtdataOffers).data

    async def offer_documents(self, owner: str) -> list[msgspec.Raw]:
        """Return all offers of an owner as JSON documents of storage's API, with their true locations."""
        return _decoded(await self._get(f"/bulk/offers/{quote(owner, safe='')}", {}), _Documents).data

    async def write_offers(
        self,
        *,
        new: Sequence[msgspec.Struct] = (),
        changed: Sequence[msgspec.Struct] = (),
        removed: Sequence[str] = (),
        event: Literal["now", "later", "none"] = "now",
        until_ms: int | None = None,
    ) -> int:
        """Create, change and remove offers, which are documents of storage's API. Return how many were refused.

        storage then sends the event `bud` of each owner, unless `event` is `later` or `none`. A request whose response
        is lost may have created offers. New offers with ids may be sent again. A request that arrives after `until_ms`
        (ms since 1970) writes nothing, and raises ServiceUnavailable.
        """
        body = {
            "new_offers": list(new),
            "old_offers": list(changed),
            "remove_offers": [{"_id": each} for each in removed],
        }
        headers = {"User-Agent": "push", "Content-Type": "application/json"}
        query = {"event": None if event == "now" else event, "until": until_ms}
        sent = urlencode({name: value for name, value in query.items() if value is not None})
        url = f"{self._url}/bulk/offers" + (f"?{sent}" if sent else "")
        found = await self._client.post(url, msgspec.json.encode(body), headers)
        return sum(each.status == "refused" for each in _decoded(found, _Results).results)

    async def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        return await self._client.get(f"{self._url}{path}?{urlencode(query)}", {"User-Agent": "push"})

    async def _post(self, path: str, form: list[tuple[str, str]] | None = None) -> None:
        await self._client.post(f"{self._url}{path}", form or b"", {"User-Agent": "push"})


def _decoded(body: bytes, kind: type[_Response]) -> _Response:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ServiceFailed(f"the response of storage is not as expected: {error}") from None
