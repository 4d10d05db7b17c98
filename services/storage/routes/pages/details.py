"""The page of one object, `/store/details/<id>`, and the changes that it sends."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from services.backbone.logs import get_logger
from services.backbone.pages import Renderer
from services.storage.core.extras import read_extras
from services.storage.core.fields import InvalidInput
from services.storage.core.filters import parse_id
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.core.pairs import PairState
from services.storage.core.responses import encode_response
from services.storage.routes.changes import ObjectChanges
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.routes.pages.forms import Form, changed_fields, form_of, read_form
from services.storage.routes.pages.lists import OPERATOR, PLURAL, sentence, validity
from services.storage.routes.pages.maps import Maps, title_of
from services.storage.routes.requests import etag
from services.storage.store.histories import MAX_PAIRS, PairHistories

log = get_logger(__name__)

_KINDS: Final[tuple[SubjectKind, ...]] = ("offer", "search")
_SHOWN_PAIRS: Final = 20
_VERSION: Final = re.compile(r"[0-9]{1,18}").fullmatch
_CHANGED: Final = 412


class PairRow(NamedTuple):
    """A pair of the object, with the object on its other side."""

    pair: PairState
    other: StoredObject | None
    title: str


class ShownForm(NamedTuple):
    """The edit form, and the result of the last action."""

    form: Form
    errors: Mapping[str, str] = MappingProxyType({})
    done: str = ""
    stored_values: Form = MappingProxyType({})
    """The stored values of the fields that differ from what was typed, after a conflict."""
    is_outdated: bool = False


class DetailPages:
    """The page of one object."""

    def __init__(self, context: ApiContext, histories: PairHistories, maps: Maps, renderer: Renderer) -> None:
        self._context = context
        self._histories = histories
        self._maps = maps
        self._renderer = renderer
        self._changes = {kind: ObjectChanges(context, kind) for kind in _KINDS}

    async def show(self, object_id: str, request: Request) -> Response:
        """Show an object."""
        stored = await self.find(object_id)
        shown = ShownForm(form_of(stored.fields), done=request.query_params.get("done", ""))
        return await self._page(request, stored, shown)

    async def update(self, object_id: str, request: Request) -> Response:
        """Change the fields of the sent form, as PUT of the API does."""
        stored, form = await self.find(object_id), await read_form(request, self._context)
        try:
            before, after = await self._changes[stored.kind].change(
                stored.id,
                lambda current: changed_fields(form, current.fields),
                event="update",
                caller=OPERATOR,
                if_match=_if_match(form),
            )
        except InvalidInput as error:
            errors = {each.field: sentence(each.detail) for each in error.errors}
            return await self._page(request, stored, ShownForm(form_of(stored.fields) | form, errors), 422)
        except ApiError as error:
            return await self._conflict(request, stored, error, form)
        return self._redirect(after, "saved" if after.version != before.version else "unchanged")

    async def set_active(self, object_id: str, value: str, request: Request) -> Response:
        """Activate (`true`) or deactivate (any other value) an object."""
        stored, form = await self.find(object_id), await read_form(request, self._context)
        is_active = value == "true"
        try:
            _, after = await self._changes[stored.kind].change(
                stored.id,
                lambda current: msgspec.structs.replace(current.fields, is_active=is_active),
                event="setact",
                caller=OPERATOR,
                if_match=_if_match(form),
            )
        except ApiError as error:
            return await self._conflict(request, stored, error)
        return self._redirect(after, "activated" if is_active else "deactivated")

    async def match(self, object_id: str) -> Response:
        """Match an object now."""
        stored = await self.find(object_id)
        is_due = await self._changes[stored.kind].match(stored.id)
        return self._redirect(stored, "matched" if is_due else "not_matched")

    async def delete(self, kind: SubjectKind, object_id: str, request: Request) -> Response:
        """Delete an object."""
        form = await read_form(request, self._context)
        try:
            await self._changes[kind].delete(object_id, caller=OPERATOR, if_match=_if_match(form))
        except ApiError as error:
            if error.status != _CHANGED:
                raise
            return await self._conflict(request, await self.find(object_id), error)
        log.info("deleted_by_hand", kind=kind, id=object_id)
        return RedirectResponse(f"/store/{PLURAL[kind]}?done=deleted", 303)

    async def find(self, object_id: str) -> StoredObject:
        """Return the object with this id, of either kind. Raises ApiError (404)."""
        name = parse_id(object_id, "id")
        for kind in _KINDS:
            stored = await self._context.stores.objects.get(kind, name)
            if stored is not None and not stored.is_deleted:
                return stored
        raise ApiError(404, "not_found", f"There is no offer and no search with the id {name}. It may be deleted.")

    async def _conflict(
        self, request: Request, stored: StoredObject, error: ApiError, form: Form | None = None
    ) -> Response:
        """Show the object as it is now, with what was typed, after a change that was made from an older version."""
        if error.status != _CHANGED:
            raise error
        current = await self.find(stored.id)
        shown = form_of(current.fields)
        typed = shown | {name: value for name, value in (form or {}).items() if name in shown}
        stored_values = {name: shown[name] for name in shown if typed[name] != shown[name]}
        outdated = ShownForm(typed, stored_values=stored_values, is_outdated=True)
        return await self._page(request, current, outdated, _CHANGED)

    async def _page(self, request: Request, stored: StoredObject, shown: ShownForm, status: int = 200) -> Response:
        now_ms = self._context.now_ms()
        pairs, number = await self._histories.matching(stored.kind, stored.id, limit=_SHOWN_PAIRS)
        return self._renderer.page(
            request.scope,
            "details.html",
            status,
            stored=stored,
            fields=stored.fields,
            plural=PLURAL[stored.kind],
            title=title_of(stored),
            validity=validity(stored, now_ms),
            is_due=stored.due_at_ms is not None and stored.due_at_ms <= now_ms,
            map_view=await self._maps.draw(f"The circle of this {stored.kind}", [stored]),
            images_url=self._context.settings.images_url,
            place=read_extras(stored.fields.place),
            extdata=_indented(read_extras(stored.fields.extdata)),
            pairs=await self._rows(stored, pairs),
            number_of_pairs=number,
            most_pairs=MAX_PAIRS,
            **shown._asdict(),
        )

    async def _rows(self, stored: StoredObject, pairs: list[PairState]) -> list[PairRow]:
        kind: SubjectKind = "search" if stored.kind == "offer" else "offer"
        ids = {pair.id: pair.search_id if kind == "search" else pair.offer_id for pair in pairs}
        others = await self._context.stores.objects.get_many(kind, ids.values())
        found = [(pair, others.get(ids[pair.id])) for pair in pairs]
        return [PairRow(pair, other, title_of(other) if other else f"removed {kind}") for pair, other in found]

    def _redirect(self, stored: StoredObject, done: str) -> Response:
        return RedirectResponse(f"/store/details/{stored.id}?{urlencode({'done': done})}", 303)


def _if_match(form: Form) -> str | None:
    """Return the condition of a form. A client of the old system sends no version."""
    version = form.get("version")
    return None if version is None else etag(int(version)) if _VERSION(version) else '""'


def _indented(value: Any) -> str:
    return msgspec.json.format(encode_response(value), indent=2).decode() if value else ""
