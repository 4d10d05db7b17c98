"""The pages and their data: a URL in, one question to a store, a template or JSON out."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from services.backbone.counters import Description
from services.backbone.kafka import KafkaUnavailable
from services.kafidx.core.errors import BadQuery
from services.kafidx.core.positions import MAX_OFFSET, MAX_PARTITION, parse_start, parse_whole
from services.kafidx.core.tables import PAGE_ROWS, Table, TableQuery, csv_slices, json_slices, parse_table_query
from services.kafidx.core.view import parse_topic, parse_view, topics
from services.kafidx.routes.socket import LiveSocket
from services.kafidx.store.counters import Consumer, Counters, CountersUnavailable
from services.kafidx.store.dead import DeadLetters, DeadPage
from services.kafidx.store.record import EventGone
from services.kafidx.store.topics import Topics

_HERE: Final = Path(__file__).parents[1]
_NO_REDIS: Final = "Redis does not answer."
_NO_KAFKA: Final = "Kafka does not answer."


class Pages:
    """Makes the answers; the routes below only name them."""

    def __init__(self, counters: Counters, dead: DeadLetters, topics: Topics) -> None:
        self._counters = counters
        self._dead = dead
        self._topics = topics
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "pages"), autoescape=True, trim_blocks=False
        )

    async def links(self) -> Response:
        """Answer `/`. It is there also when Redis is not."""
        try:
            consumers = [asdict(consumer) for consumer in await self._counters.consumers()]
        except CountersUnavailable:
            return self._page("links.html", consumers=[], redis_ok=False)
        return self._page("links.html", consumers=consumers, redis_ok=True)

    async def live(self, query: str) -> Response:
        """Answer `/kafidx`: 400 and the place of the fault when the socket would refuse this query."""
        try:
            parse_view(query)
        except BadQuery as fault:
            return self._page("live.html", 400, error=fault.as_dict(), topics=topics())
        return self._page("live.html", error=None, topics=topics())

    async def event(self, request: Request) -> Response:
        """Answer `/kafidx/event`: one whole event as JSON."""
        topic = self._topics[parse_topic(request.query_params.getlist("topic"))]
        given = request.query_params
        partition = parse_whole("partition", given.get("partition", ""), highest=MAX_PARTITION)
        offset = parse_whole("offset", given.get("offset", ""), highest=MAX_OFFSET)
        try:
            return JSONResponse(await topic.event(partition, offset))
        except EventGone as gone:
            return JSONResponse({"reason": str(gone)}, 404)
        except KafkaUnavailable:
            return JSONResponse({"reason": _NO_KAFKA}, 503)

    async def consumers(self) -> Response:
        """Answer `/consumers`."""
        try:
            consumers = [asdict(consumer) for consumer in await self._counters.consumers()]
        except CountersUnavailable:
            return self._page("consumers.html", 503, consumers=[], notice=_NO_REDIS)
        return self._page("consumers.html", consumers=consumers, notice=None)

    async def consumers_data(self) -> Response:
        """Answer `/consumers/data`: the cards as JSON."""
        try:
            return JSONResponse({"consumers": [asdict(consumer) for consumer in await self._counters.consumers()]})
        except CountersUnavailable:
            return JSONResponse({"reason": _NO_REDIS}, 503)

    async def consumer(self, name: str, query: str) -> Response:
        """Answer `/consumers/<name>/page`."""
        try:
            consumer, description, wanted, table = await self._table(name, query, page=1)
        except CountersUnavailable:
            return self.fault(HTTPStatus.SERVICE_UNAVAILABLE, _NO_REDIS)
        return self._page(
            "consumer.html",
            consumer=asdict(consumer),
            column_title=description.column_title,
            legend=description.legend,
            counter_kind=description.kind,
            rows=[asdict(line) for line in table.rows],
            total_rows=table.total_rows,
            page=table.page,
            pages=table.pages,
            sort=wanted.sort,
            order=wanted.order,
            q=wanted.q,
            max_count=table.max_count,
            notice=None,
        )

    async def consumer_data(self, name: str, query: str) -> Response:
        """Answer `/consumers/<name>/data`: all rows, or those of one page, as JSON or CSV."""
        try:
            consumer, description, wanted, table = await self._table(name, query, page=None)
            charts = await self._counters.charts(description)
        except CountersUnavailable:
            return JSONResponse({"reason": _NO_REDIS}, 503)
        if wanted.format == "csv":
            disposition = f'attachment; filename="{"".join(c for c in name if c.isalnum() or c in "_-")}.csv"'
            slices = csv_slices(description.column_title, table.rows)
            return _streamed(slices, "text/csv; charset=utf-8", {"Content-Disposition": disposition})
        head = _table_json(consumer, description, wanted, table) | ({"histograms": charts} if charts else {})
        return _streamed(json_slices(head, table.rows), "application/json")

    async def dead(self, request: Request) -> Response:
        """Answer `/dead`."""
        try:
            page = await self._dead_page(request)
        except KafkaUnavailable:
            context: dict[str, Any] = {"letters": [], "older_url": None, "newer_url": None, "total": None}
            return self._page("dead.html", 503, **context, notice=_NO_KAFKA)
        return self._page("dead.html", **_dead_json(page, request), notice=None)

    async def dead_data(self, request: Request) -> Response:
        """Answer `/dead/data`: the same letters as JSON."""
        try:
            return JSONResponse(_dead_json(await self._dead_page(request), request))
        except KafkaUnavailable:
            return JSONResponse({"reason": _NO_KAFKA}, 503)

    def fault(self, status: int, reason: str) -> Response:
        """Make a page that says what is wrong."""
        return self._page("error.html", status, status=status, title=HTTPStatus(status).phrase, reason=reason)

    async def _table(
        self, name: str, query: str, *, page: int | None
    ) -> tuple[Consumer, Description, TableQuery, Table]:
        found = await self._counters.consumer(name)
        if found is None:
            raise HTTPException(404, f"No consumer called {name[:100]!r} has registered.")
        consumer, description = found
        wanted = parse_table_query(query, page=page, kind=description.kind)
        return consumer, description, wanted, await self._counters.table(description, wanted)

    async def _dead_page(self, request: Request) -> DeadPage:
        before = request.query_params.get("before")
        if before is None:
            return await self._dead.page()
        try:
            return await self._dead.page(parse_start(f"offset:{before}").offsets)
        except BadQuery as fault:
            place = None if fault.position is None else fault.position - len("offset:")
            raise BadQuery("before", place, fault.reason, before) from None

    def _page(self, template: str, status_code: int = 200, /, **context: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**context), status_code)


def add_pages(app: FastAPI, pages: Pages, socket: LiveSocket) -> None:
    """Put every URL in its place."""
    _add_live(app, pages, socket)
    _add_counters(app, pages)
    _add_dead_letters(app, pages)
    _add_errors(app, pages)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))


def _add_live(app: FastAPI, pages: Pages, socket: LiveSocket) -> None:
    @app.get("/", response_class=HTMLResponse)
    async def links() -> Response:
        return await pages.links()

    @app.get("/kafidx", response_class=HTMLResponse)
    async def live(request: Request) -> Response:
        return await pages.live(request.url.query)

    @app.websocket("/kafidx/socket")
    async def serve(websocket: WebSocket) -> None:
        await socket.serve(websocket)

    @app.get("/kafidx/event")
    async def event(request: Request) -> Response:
        return await pages.event(request)


def _add_counters(app: FastAPI, pages: Pages) -> None:
    @app.get("/consumers", response_class=HTMLResponse)
    async def consumers() -> Response:
        return await pages.consumers()

    @app.get("/consumers/data")
    async def consumers_data() -> Response:
        return await pages.consumers_data()

    @app.get("/consumers/{name}/page", response_class=HTMLResponse)
    async def consumer(name: str, request: Request) -> Response:
        return await pages.consumer(name, request.url.query)

    @app.get("/consumers/{name}/data")
    async def consumer_data(name: str, request: Request) -> Response:
        return await pages.consumer_data(name, request.url.query)


def _add_dead_letters(app: FastAPI, pages: Pages) -> None:
    @app.get("/dead", response_class=HTMLResponse)
    async def dead(request: Request) -> Response:
        return await pages.dead(request)

    @app.get("/dead/data")
    async def dead_data(request: Request) -> Response:
        return await pages.dead_data(request)


def _add_errors(app: FastAPI, pages: Pages) -> None:
    @app.exception_handler(BadQuery)
    async def bad_query(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, BadQuery)  # noqa: S101 - what this handler is registered for
        if _wants_data(request):
            return JSONResponse(fault.as_dict(), 400)
        place = "" if fault.position is None else f" (at character {fault.position + 1})"
        return pages.fault(400, f"{fault.parameter}: {fault.reason}{place}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what this handler is registered for
        if _wants_data(request):
            return JSONResponse({"reason": error.detail}, error.status_code, headers=error.headers)
        response = pages.fault(error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response


def _wants_data(request: Request) -> bool:
    return request.url.path.endswith(("/data", "/event"))


def _streamed(slices: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send slices as they are made, and serve others between them: 200,000 rows at once would block the loop."""

    async def one_by_one() -> AsyncIterator[bytes]:
        for part in slices:
            yield part
            await asyncio.sleep(0)

    return StreamingResponse(one_by_one(), media_type=media_type, headers=headers)


def _table_json(consumer: Consumer, description: Description, wanted: TableQuery, table: Table) -> dict[str, Any]:
    return {
        **asdict(consumer),
        "column_title": description.column_title,
        "legend": description.legend,
        "counter_kind": description.kind,
        "sort": wanted.sort,
        "order": wanted.order,
        "q": wanted.q,
        "page": table.page,
        "pages": table.pages,
        "page_rows": PAGE_ROWS if wanted.page is not None else None,
        "total_rows": table.total_rows,
        "max_count": table.max_count,
    }


def _dead_json(page: DeadPage, request: Request) -> dict[str, Any]:
    older = None if page.older is None else ",".join(f"{p}:{at}" for p, at in sorted(page.older.items()))
    return {
        "letters": [asdict(letter) for letter in page.dead_letters],
        "older_url": f"?before={older}" if older is not None else None,
        "newer_url": "?" if "before" in request.query_params else None,
        "total": page.total,
    }
