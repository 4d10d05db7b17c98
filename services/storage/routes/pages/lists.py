"""The list pages `/store/offers` and `/store/searches`, and `/store/aggregate`."""

from typing import Any, Final, Literal

from fastapi import Request, Response

from services.backbone.pages import Renderer
from services.storage.core.access import Caller
from services.storage.core.fields import InvalidInput
from services.storage.core.filters import MAX_PAGE, parse_page
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.routes.context import ApiContext
from services.storage.routes.pages.list_filter import FIELDS, ListRequest
from services.storage.routes.pages.maps import title_of
from services.storage.routes.requests import parameters_of
from services.storage.store.lists import MAX_COUNT
from services.storage.store.owners import OwnerCounts

OPERATOR: Final = Caller("service")
"""The caller of each page: the guard lets nobody else through."""
PLURAL: Final[dict[SubjectKind, str]] = {"offer": "offers", "search": "searches"}
_OWNERS_ROWS: Final = 200

Validity = Literal["valid", "not yet valid", "expired"]


def validity(stored: StoredObject, now_ms: int) -> Validity:
    """Return whether an object is valid at a time."""
    fields = stored.fields
    if fields.valid_until_ms is not None and now_ms >= fields.valid_until_ms:
        return "expired"
    return "not yet valid" if fields.valid_from_ms is not None and now_ms < fields.valid_from_ms else "valid"


def sentence(text: str) -> str:
    """Return the text as a sentence."""
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."


class ListPages:
    """The lists of objects and of owners."""

    def __init__(self, context: ApiContext, owners: OwnerCounts, renderer: Renderer) -> None:
        self._context = context
        self._owners = owners
        self._renderer = renderer

    async def objects(self, kind: SubjectKind, request: Request) -> Response:
        """Show a list: the objects, the order and the number that the API has for the same filter."""
        asked = ListRequest.of(parameters_of(request))
        frame: dict[str, Any] = {"kind": kind, "plural": PLURAL[kind], "asked": asked, "done": _done(request)}
        try:
            wanted, page = asked.parse()
        except InvalidInput as error:
            errors = {each.field.removesuffix("[]"): sentence(each.detail) for each in error.errors}
            frame |= {"errors": errors, "others": [f"{n}: {text}" for n, text in errors.items() if n not in FIELDS]}
            return self._renderer.page(request.scope, "list.html", 422, found=None, **frame)
        lists, now_ms = self._context.stores.lists, self._context.now_ms()
        sees_true = wanted.owner is not None and OPERATOR.acts_for(wanted.owner, wanted.owner)
        found = await lists.page(kind, wanted, page, now_ms=now_ms, sees_true=sees_true)
        total = await lists.count(kind, wanted, now_ms=now_ms, sees_true=sees_true)
        before = asked.rows_before(page)
        last = min((max(total, 1) - 1) // page.limit, MAX_PAGE)
        return self._renderer.page(
            request.scope,
            "list.html",
            found=found,
            rows=[(stored, title_of(stored), validity(stored, now_ms)) for stored in found.objects],
            total=total,
            most_counted=MAX_COUNT,
            before=before,
            first_url=asked.query() if before else "",
            previous_url=asked.query(page=str(max(before // page.limit - 1, 0))) if before else "",
            next_url=asked.query(next=found.next, rows_before=str(before + len(found.objects))) if found.next else "",
            last_url=asked.query(page=str(last)) if found.next and total < MAX_COUNT else "",
            errors={},
            others=[],
            **frame,
        )

    async def owners(self, request: Request) -> Response:
        """Show the number of objects of each owner."""
        number = parse_page(parameters_of(request)).number
        found = await self._owners.page(number=number, limit=_OWNERS_ROWS)
        return self._renderer.page(
            request.scope,
            "owners.html",
            found=found,
            most=max((row.offers + row.searches for row in found.rows), default=0),
            page=number + 1,
            pages=max(1, -(-found.owners // _OWNERS_ROWS)),
        )


def _done(request: Request) -> str:
    return request.query_params.get("done", "")
