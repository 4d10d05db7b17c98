"""The routes of chats: objects by id, and channels."""

import re
from typing import Any, Final

from fastapi import Request, Response

from services.storage.core.fields import FieldError, InvalidInput
from services.storage.core.filters import MAX_LIST, is_id, parse_id
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.core.responses import ranked_object
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError, json_response
from services.storage.routes.requests import caller_of, parameters_of, read_object, text_parameter
from services.storage.store.channels import Channel

_MAX_URL_CHARACTERS: Final = 2048


class ChatRoutes:
    """Chats and channels."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._objects = context.stores.objects

    async def read(self, request: Request) -> Response:
        """Return a list with the offer of this id, else with the search, else an empty object, as the old system."""
        text = parameters_of(request).get("_id", [""])[-1]
        if is_id(text):
            for kind in ("offer", "search"):
                stored = await self._live(kind, text.lower())
                if stored is not None:
                    return json_response([self._visible(request, stored, None)])
        return json_response({})

    async def read_many(self, request: Request) -> Response:
        """Return the offers and searches of ids, each ranked against the first one of the other kind.

        `_id` is repeated, or has ids joined by `_`. What is no id is ignored. Neither validity nor owner matters.
        """
        parameters = parameters_of(request)
        values = (value for name in ("_id", "_id[]") for value in parameters.get(name, ()))
        texts = [part for value in values for part in re.split("[_,]", value)]
        ids = list(dict.fromkeys(text.lower() for text in texts if is_id(text)))
        if len(ids) > MAX_LIST:
            raise InvalidInput(FieldError("_id", f"has {len(ids)} ids; at most {MAX_LIST} are allowed"))
        offers, searches = await self._many("offer", ids), await self._many("search", ids)
        first_offer, first_search = next(iter(offers), None), next(iter(searches), None)
        return json_response(
            {
                "offers": [self._visible(request, each, first_search) for each in offers],
                "searches": [self._visible(request, each, first_offer) for each in searches],
            }
        )

    async def channels(self, search_id: str, offer_id: str) -> Response:
        """Return the channels of a search and an offer."""
        found = await self._context.stores.channels.of_pair(
            parse_id(search_id, "searchid"), parse_id(offer_id, "offerid")
        )
        return json_response([_document(channel) for channel in found])

    async def add_channel(self, request: Request) -> Response:
        """Store a channel and return it. The owners of both objects must accept contacts."""
        settings = self._context.settings
        body = await read_object(request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
        search_id = parse_id(text_parameter(body.get("searchid"), "searchid", most=64), "searchid")
        offer_id = parse_id(text_parameter(body.get("offerid"), "offerid", most=64), "offerid")
        url = text_parameter(body.get("url"), "url", most=_MAX_URL_CHARACTERS)
        search, offer = await self._live("search", search_id), await self._live("offer", offer_id)
        if search is None or offer is None:
            raise ApiError(404, "not_found", f"there is no such {'search' if search is None else 'offer'}")
        for stored in (search, offer):
            if not stored.fields.allow_contacts:
                raise ApiError(403, "no_contacts", f"the owner of the {stored.kind} does not accept contacts")
        channel = Channel(self._context.new_id(), search_id, offer_id, url, self._context.now_ms())
        return json_response(_document(await self._context.stores.channels.add(channel)))

    async def _live(self, kind: SubjectKind, object_id: str) -> StoredObject | None:
        stored = await self._objects.get(kind, object_id)
        return None if stored is None or stored.is_deleted else stored

    async def _many(self, kind: SubjectKind, ids: list[str]) -> list[StoredObject]:
        found = await self._objects.get_many(kind, ids)
        return [found[each] for each in ids if each in found and not found[each].is_deleted]

    def _visible(self, request: Request, stored: StoredObject, other: StoredObject | None) -> dict[str, Any]:
        is_own = caller_of(request).acts_for(stored.fields.owner, None)
        return ranked_object(stored, () if other is None else other.keys, is_own=is_own)


def _document(channel: Channel) -> dict[str, Any]:
    return {
        "_id": channel.id,
        "searchid": channel.search_id,
        "offerid": channel.offer_id,
        "url": channel.url,
        "created": channel.created_ms,
    }
