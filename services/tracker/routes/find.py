"""`GET /find` on the internal port: searches the spool and Redis for single events. kafidx calls it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.backbone.search import InvalidSearch, decode_targets, encode_report
from services.tracker.store import EventSearch, SearchBusy


def find_route(search: EventSearch) -> Route:
    """Return the route. The query is `id=`, or `type=` and `params=`, also repeated; the response a TrackerReport."""

    async def find(request: Request) -> Response:
        try:
            targets = decode_targets(request.url.query)
        except InvalidSearch as error:
            return JSONResponse({"reason": str(error)}, 400)
        try:
            report = await search.run(targets)
        except SearchBusy:
            return JSONResponse({"reason": "another search is running"}, 503, headers={"Retry-After": "5"})
        return Response(encode_report(report), media_type="application/json")

    return Route("/find", find)
