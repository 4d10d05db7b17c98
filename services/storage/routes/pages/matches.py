"""The page `/store/matches`: why a pair matches or not, and sending it by hand."""

import contextlib
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from services.backbone.logs import get_logger
from services.backbone.pages import Renderer
from services.storage.core.fields import InvalidInput
from services.storage.core.filters import parse_id
from services.storage.core.matching import Match, MatchSide, SubjectKind, decide
from services.storage.core.objects import StoredObject
from services.storage.core.pairs import Judged, PairState, notification_id, send_by_hand
from services.storage.core.sphere import distance_m
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.routes.pages.forms import Form, read_form
from services.storage.routes.pages.maps import Maps, title_of
from services.storage.routes.pages.reasons import conditions, metres
from services.storage.store import CandidateFinder
from services.storage.store.histories import PairHistories, PairHistory

log = get_logger(__name__)

_KINDS: Final[tuple[SubjectKind, ...]] = ("search", "offer")
_MAX_CANDIDATES: Final = 10
_CONFLICT: Final = 409


class Candidate(NamedTuple):
    """An object that the index proposes for the chosen one."""

    stored: StoredObject
    title: str
    distance: str


class MatchPages:
    """Pairs of one search and one offer."""

    def __init__(
        self, context: ApiContext, histories: PairHistories, finder: CandidateFinder, maps: Maps, renderer: Renderer
    ) -> None:
        self._context = context
        self._histories = histories
        self._finder = finder
        self._maps = maps
        self._renderer = renderer

    async def show(self, request: Request) -> Response:
        """Show the pair of `search` and `offer`, or what is needed to choose it."""
        given = request.query_params
        typed: dict[str, str] = {kind: (given.get(kind) or given.get(f"{kind}_id") or "").strip() for kind in _KINDS}
        return await self._page(request, typed, done=given.get("done", ""))

    async def choose(self, request: Request) -> Response:
        """Open the page with a chosen object. The old system kept the choice in a cookie."""
        form = await read_form(request, self._context)
        kind = form.get("type", "")
        if kind not in _KINDS:
            raise ApiError(422, "invalid", "type: must be offer or search")
        query = urlencode({str(kind): parse_id(form.get("id", ""), "id")})
        return RedirectResponse(f"/store/matches?{query}", 303)

    async def send(self, request: Request) -> Response:
        """Send the pair of `search_id` and `offer_id` by hand, whatever the rule decides."""
        form = await read_form(request, self._context)
        typed: dict[str, str] = {kind: form.get(f"{kind}_id", "").strip() for kind in _KINDS}
        search, offer = await self._one("search", typed["search"]), await self._one("offer", typed["offer"])
        now_ms = self._context.now_ms()
        judged = Judged(offer.side, search.side, decide(offer.side, search.side, now_ms), now_ms)

        def add(pair: PairState | None) -> PairState:
            shown = form.get("encounter")
            if shown is not None and shown != str(0 if pair is None else pair.encounter):
                raise ApiError(_CONFLICT, "changed", "another encounter of this pair has begun")
            return send_by_hand(pair, judged)

        try:
            pair = await self._histories.change(search.id, offer.id, add)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            return await self._page(request, typed, status=_CONFLICT, is_outdated=True)
        log.info("sent_by_hand", id=notification_id(search.id, offer.id, pair.encounter))
        query = urlencode({"search": search.id, "offer": offer.id, "done": "sent"})
        return RedirectResponse(f"/store/matches?{query}", 303)

    async def _page(
        self, request: Request, typed: Form, *, status: int = 200, done: str = "", is_outdated: bool = False
    ) -> Response:
        chosen: dict[str, StoredObject] = {}
        errors: dict[str, str] = {}
        for kind in _KINDS:
            try:
                if typed[kind]:
                    chosen[kind] = await self._one(kind, typed[kind])
            except InvalidInput as error:
                errors[kind] = f"An id has {error.errors[0].detail.removeprefix('must be ')}."
            except ApiError as error:
                errors[kind] = str(error)
        search, offer = chosen.get("search"), chosen.get("offer")
        context: dict[str, Any] = {"typed": typed, "errors": errors, "done": done, "is_outdated": is_outdated}
        context |= {"search": search, "offer": offer, "pair": None, "candidates": None, "chosen": search or offer}
        if search is not None and offer is not None:
            context |= await self._pair(search, offer)
        elif context["chosen"] is not None and not errors:
            context["candidates"] = await self._candidates(context["chosen"])
        status = 422 if errors and status == 200 else status  # noqa: PLR2004 - nothing else has failed
        titles = {kind: title_of(stored) for kind, stored in chosen.items()}
        return self._renderer.page(request.scope, "matches.html", status, titles=titles, **context)

    async def _pair(self, search: StoredObject, offer: StoredObject) -> dict[str, Any]:
        now_ms = self._context.now_ms()
        decision = decide(offer.side, search.side, now_ms)
        history = await self._histories.get(search.id, offer.id)
        return {
            "pair": history.pair if history else None,
            "reports": _reports(history),
            "is_match": isinstance(decision, Match),
            "conditions": conditions(offer.side, search.side, decision),
            "distance_m": decision.distance_m,
            "map_view": await self._maps.draw("The circles of both objects", [offer, search]),
            "due": [each for each in (offer, search) if each.due_at_ms is not None and each.due_at_ms <= now_ms],
        }

    async def _candidates(self, chosen: StoredObject) -> list[Candidate]:
        found: list[MatchSide] = []
        finds = self._finder.find(chosen.kind, chosen.side, self._context.now_ms())
        async with contextlib.aclosing(finds) as slices:
            async for each in slices:
                found += each.sides
                break
        away = {side.id: distance_m(chosen.fields.location, side.location) for side in found}
        nearest = sorted(away, key=lambda name: away[name])[:_MAX_CANDIDATES]
        kind: SubjectKind = "search" if chosen.kind == "offer" else "offer"
        objects = await self._context.stores.objects.get_many(kind, nearest)
        near = [(objects[name], metres(away[name])) for name in nearest if name in objects]
        return [Candidate(stored, title_of(stored), distance) for stored, distance in near]

    async def _one(self, kind: SubjectKind, object_id: str) -> StoredObject:
        stored = await self._context.stores.objects.get(kind, parse_id(object_id, f"{kind}_id"))
        if stored is None or stored.is_deleted:
            raise ApiError(404, "not_found", f"There is no {kind} with this id. It may be deleted.")
        return stored


def _reports(history: PairHistory | None) -> list[dict[str, Any]]:
    """Return the encounters, the newest first, with what is known of each."""
    if history is None:
        return []
    pair = history.pair
    reports = {report.encounter: report for report in history.reports}
    sent = {each.encounter: each.at_ms for each in pair.sent_by_hand}
    known = sorted({*reports, *sent, *pair.owed_encounters, pair.encounter}, reverse=True)
    return [
        {
            "encounter": encounter,
            "id": notification_id(pair.search_id, pair.offer_id, encounter),
            "sent_ms": sent.get(encounter),
            "report": reports.get(encounter),
            "is_owed": encounter in pair.owed_encounters,
        }
        for encounter in known
    ]
