"""The routes of one collection, `/offers` or `/searches`."""

from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from services.storage.core.access import Caller
from services.storage.core.fields import parse_fields
from services.storage.core.filters import parse_filter, parse_id, parse_page
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import ObjectFields, StoredObject, create_object, with_true_location
from services.storage.core.responses import API_VERSION, ranked_object, visible_object
from services.storage.routes.access import TOKEN_HEADER
from services.storage.routes.changes import ObjectChanges
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError, json_response
from services.storage.routes.requests import (
    caller_of,
    etag,
    has_tag,
    parameters_of,
    read_object,
)
from services.storage.store.objects import EventAction


class ObjectRoutes:
    """Offers or searches: list, create, read, change, delete."""

    def __init__(self, context: ApiContext, kind: SubjectKind) -> None:
        self._context = context
        self._stores = context.stores
        self._kind = kind
        self._changes = ObjectChanges(context, kind)

    async def list(self, request: Request) -> Response:
        """Return a list, sorted by `rank` and joined keywords, both descending. `next` is the cursor of the rest."""
        parameters = parameters_of(request)
        wanted, page = parse_filter(parameters), parse_page(parameters)
        caller = caller_of(request)
        sees_true = wanted.owner is not None and caller.acts_for(wanted.owner, wanted.owner)
        found = await self._stores.lists.page(
            self._kind, wanted, page, now_ms=self._context.now_ms(), sees_true=sees_true
        )
        asked = frozenset(wanted.keys)
        content: dict[str, Any] = {
            "version": API_VERSION,
            "data": [
                ranked_object(each, asked, is_own=caller.acts_for(each.fields.owner, wanted.owner))
                for each in found.objects
            ],
            "next": found.next,
        }
        if found.keyword_search is not None:
            content["keyword_search"] = found.keyword_search
        return json_response(content)

    async def read(self, object_id: str, request: Request) -> Response:
        """Return one object. A service that reads it on behalf of its owner names the owner."""
        stored = await self._stores.objects.get(self._kind, parse_id(object_id, "_id"))
        if stored is None or stored.is_deleted:
            raise self._changes.unknown()
        tag = {"ETag": etag(stored.version)}
        if has_tag(request.headers.get("if-none-match"), stored.version, weak=True):
            return Response(status_code=304, headers=tag)
        asked_owner = parameters_of(request).get("owner", [None])[-1]
        is_own = caller_of(request).acts_for(stored.fields.owner, asked_owner)
        document = ranked_object(stored, (), is_own=is_own)
        return json_response({"version": API_VERSION, "data": [document]}, headers=tag)

    async def create(self, request: Request) -> Response:
        """Create an object and return it."""
        caller = caller_of(request)
        fields = parse_fields(await self._body(request), may_set_trusted=caller.is_service)
        await self._check_create(caller, fields.owner)
        context = self._context
        object_id = context.new_id()
        subject = fields.owner if caller.may_change(fields.owner) else object_id
        unit = self._stores.public_key.unit(subject, fields.location)
        stored = create_object(self._kind, object_id, fields, now_ms=context.now_ms(), random_unit=unit)
        await self._stores.objects.insert(stored, event="create")
        self._changes.count("create")
        return self._document(stored, stored.version)

    async def change(self, object_id: str, request: Request) -> Response:
        """Replace the sent fields and return the object after the change. `return=before`: before the change."""
        caller, document = caller_of(request), await self._body(request)

        def apply(stored: StoredObject) -> ObjectFields:
            sent = parse_fields(document, stored.fields, may_set_trusted=caller.is_service)
            fields = with_true_location(stored, sent)
            if fields.owner != stored.fields.owner and not caller.may_change(fields.owner):
                raise ApiError(403, "forbidden", f"only a service or the device {fields.owner} can set this owner")
            return fields

        before, after = await self._change(object_id, request, apply, "update")
        returned = before if parameters_of(request).get("return", [""])[-1] == "before" else after
        return self._document(returned, after.version)

    async def set_active(self, object_id: str, value: str, request: Request) -> Response:
        """Activate (`true`) or deactivate (any other value) an object."""

        def apply(stored: StoredObject) -> ObjectFields:
            return parse_fields({"isActive": value == "true"}, stored.fields, may_set_trusted=False)

        _, after = await self._change(object_id, request, apply, "setact")
        return json_response({"status": "ok"}, headers={"ETag": etag(after.version)})

    async def delete(self, object_id: str, request: Request) -> Response:
        """Delete an object and return it."""
        deleted = await self._changes.delete(
            object_id, caller=caller_of(request), if_match=request.headers.get("if-match")
        )
        return self._document(deleted, None)

    async def notify(self, object_id: str, request: Request) -> Response:
        """Match an object now, for services. An unknown or inactive object is no error, as in the old system."""
        if not caller_of(request).is_service:
            raise ApiError(403, "forbidden", "only a service can start a matching")
        await self._changes.match(object_id)
        return json_response({"status": "ok"})

    async def _change(
        self, object_id: str, request: Request, apply: Callable[[StoredObject], ObjectFields], event: EventAction
    ) -> tuple[StoredObject, StoredObject]:
        caller, if_match = caller_of(request), request.headers.get("if-match")
        return await self._changes.change(object_id, apply, event=event, caller=caller, if_match=if_match)

    async def _body(self, request: Request) -> dict[str, Any]:
        settings = self._context.settings
        return await read_object(request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)

    async def _check_create(self, caller: Caller, owner: str) -> None:
        if caller.is_service or caller.owner == owner:
            return
        if not caller.may_create(owner, has_token=await self._stores.devices.has_token(owner)):
            raise ApiError(403, "forbidden", f"this owner has a token: send it in {TOKEN_HEADER}")

    def _document(self, stored: StoredObject, version: int | None) -> Response:
        # Only a caller that may change the object gets here, or the one that has just sent it.
        headers = {} if version is None else {"ETag": etag(version)}
        return json_response(visible_object(stored, is_own=True), headers=headers)
