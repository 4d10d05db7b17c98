"""The pages and their data: each route reads from a store and renders a template or JSON."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from services.backbone.counters import CounterStoreError, Description
from services.backbone.kafka import KafkaUnavailable, UnreadableRecord
from services.backbone.pages import Renderer
from services.backbone.pages.render import Site
from services.kafidx.core.query import (
    MAX_OFFSET,
    MAX_PARTITION,
    BadQuery,
    parse_start,
    parse_topic,
    parse_view,
    parse_whole,
    topics,
)
from services.kafidx.core.tables import PAGE_ROWS, Table, TableQuery, csv_slices, json_slices, parse_table_query
from services.kafidx.routes import views
from services.kafidx.routes.errors import add_errors
from services.kafidx.routes.socket import LiveSocket
from services.kafidx.store.counters import Consumer, Counters
from services.kafidx.store.dead import DeadLetters, DeadPage
from services.kafidx.store.record import EventGone
from services.kafidx.store.topics import Topics

SITE: Final = Site(
    "kafidx",
    (("Live", "/kafidx"), ("Consumers", "/consumers"), ("Dead letters", "/dead"), ("Find", "/find")),
    safe="kafidx only reads, so nothing was lost.",
)
_NO_REDIS: Final = "Redis does not respond."
_NO_KAFKA: Final = "Kafka does not respond."


class Pages:
    """Makes the responses of all routes except the websocket."""

    def __init__(self, counters: Counters, dead: DeadLetters, topics: Topics, renderer: Renderer) -> None:
        self._counters = counters
        self._dead = dead
        self._topics = topics
        self._renderer = renderer

    async def links(self, request: Request) -> Response:
        """Respond to `/`. The page also works without Redis and without Kafka."""
        consumers, dead = await asyncio.gather(self._cards(), self._latest_dead())
        return self._renderer.page(request.scope, "links.html", consumers=consumers, dead=dead)

    async def live(self, request: Request) -> Response:
        """Respond to `/kafidx`: 400 and the position of the error when the socket would refuse this query."""
        try:
            parse_view(request.url.query)
        except BadQuery as error:
            return self._renderer.page(request.scope, "live.html", 400, error=error.as_dict(), topics=topics())
        return self._renderer.page(request.scope, "live.html", error=None, topics=topics())

    async def event(self, request: Request) -> Response:
        """Respond to `/kafidx/event`: one whole event as JSON."""
        topic = self._topics[parse_topic(request.query_params.getlist("topic"))]
        given = request.query_params
        partition = parse_whole("partition", given.get("partition", ""), highest=MAX_PARTITION)
        offset = parse_whole("offset", given.get("offset", ""), highest=MAX_OFFSET)
        try:
            return JSONResponse(await topic.event(partition, offset))
        except EventGone as error:
            return JSONResponse({"reason": str(error)}, 404)
        except UnreadableRecord as error:
            return JSONResponse({"reason": str(error)}, 503)
        except KafkaUnavailable:
            return JSONResponse({"reason": _NO_KAFKA}, 503)

    async def consumers(self, request: Request) -> Response:
        """Respond to `/consumers`."""
        consumers = await self._cards()
        status = HTTPStatus.SERVICE_UNAVAILABLE if consumers is None else HTTPStatus.OK
        return self._renderer.page(request.scope, "consumers.html", status, consumers=consumers)

    async def consumers_data(self) -> Response:
        """Respond to `/consumers/data`: the cards as JSON."""
        consumers = await self._cards()
        if consumers is None:
            return JSONResponse({"reason": _NO_REDIS}, 503)
        return JSONResponse({"consumers": consumers})

    async def consumer(self, name: str, request: Request) -> Response:
        """Respond to `/consumers/<name>/page`."""
        try:
            consumer, description, table_query, table = await self._table(name, request.url.query, page=1)
            charts = await self._counters.charts(description)
        except CounterStoreError:
            return self.error(request, HTTPStatus.SERVICE_UNAVAILABLE, _NO_REDIS)
        return self._renderer.page(
            request.scope,
            "consumer.html",
            consumer=asdict(consumer),
            column_title=description.column_title,
            legend=description.legend,
            counter_kind=description.kind,
            kinds=views.kinds(description.legend),
            rows=views.rows(table, description.legend),
            timings=views.timings(charts, table, description.legend),
            total_rows=table.total_rows,
            page=table.page,
            pages=table.pages,
            sort=table_query.sort,
            order=table_query.order,
            q=table_query.q,
        )

    async def consumer_data(self, name: str, query: str) -> Response:
        """Respond to `/consumers/<name>/data`: all rows, or the rows of one page, as JSON or CSV."""
        try:
            consumer, description, table_query, table = await self._table(name, query, page=None)
            charts = await self._counters.charts(description)
        except CounterStoreError:
            return JSONResponse({"reason": _NO_REDIS}, 503)
        if table_query.format == "csv":
            disposition = f'attachment; filename="{"".join(c for c in name if c.isalnum() or c in "_-")}.csv"'
            slices = csv_slices(description.column_title, table.rows)
            return _streamed(slices, "text/csv; charset=utf-8", {"Content-Disposition": disposition})
        head = _table_json(consumer, description, table_query, table) | ({"histograms": charts} if charts else {})
        return _streamed(json_slices(head, table.rows), "application/json")

    async def dead(self, request: Request) -> Response:
        """Respond to `/dead`."""
        try:
            page = await self._dead_page(request)
        except KafkaUnavailable:
            context: dict[str, Any] = {"letters": None, "older_url": None, "newer_url": None, "total": None}
            return self._renderer.page(request.scope, "dead.html", 503, **context)
        shown = _dead_json(page, request)
        for letter in shown["letters"]:
            letter["text"] = None if letter["text"] is None else views.visible(letter["text"])
        return self._renderer.page(request.scope, "dead.html", **shown)

    async def dead_data(self, request: Request) -> Response:
        """Respond to `/dead/data`: the same dead letters as JSON."""
        try:
            return JSONResponse(_dead_json(await self._dead_page(request), request))
        except KafkaUnavailable:
            return JSONResponse({"reason": _NO_KAFKA}, 503)

    def error(self, request: Request, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
        """Make an error page."""
        return self._renderer.error(request.scope, status, reason, headers)

    async def _cards(self) -> list[dict[str, Any]] | None:
        """Return all consumers, or None while Redis does not respond."""
        try:
            return [asdict(consumer) for consumer in await self._counters.consumers()]
        except CounterStoreError:
            return None

    async def _latest_dead(self) -> DeadPage | None:
        """Return the latest dead letters, or None while Kafka does not respond."""
        try:
            return await self._dead.page()
        except KafkaUnavailable:
            return None

    async def _table(
        self, name: str, query: str, *, page: int | None
    ) -> tuple[Consumer, Description, TableQuery, Table]:
        found = await self._counters.consumer(name)
        if found is None:
            raise HTTPException(404, f"No consumer with the name {name[:100]!r} is registered.")
        consumer, description = found
        table_query = parse_table_query(query, page=page, kind=description.kind)
        return consumer, description, table_query, await self._counters.table(description, table_query)

    async def _dead_page(self, request: Request) -> DeadPage:
        before = request.query_params.get("before")
        if before is None:
            return await self._dead.page()
        try:
            return await self._dead.page(parse_start(f"offset:{before}").offsets)
        except BadQuery as error:
            position = None if error.position is None else error.position - len("offset:")
            raise BadQuery("before", position, error.reason, before) from None


def add_pages(app: FastAPI, pages: Pages, socket: LiveSocket) -> None:
    """Add every route to the application."""
    _add_live(app, pages, socket)
    _add_counters(app, pages)
    _add_dead_letters(app, pages)
    add_errors(app, pages.error)


def _add_live(app: FastAPI, pages: Pages, socket: LiveSocket) -> None:
    @app.get("/", response_class=HTMLResponse)
    async def links(request: Request) -> Response:
        return await pages.links(request)

    @app.get("/kafidx", response_class=HTMLResponse)
    async def live(request: Request) -> Response:
        return await pages.live(request)

    @app.websocket("/kafidx/socket")
    async def serve(websocket: WebSocket) -> None:
        await socket.serve(websocket)

    @app.get("/kafidx/event")
    async def event(request: Request) -> Response:
        return await pages.event(request)


def _add_counters(app: FastAPI, pages: Pages) -> None:
    @app.get("/consumers", response_class=HTMLResponse)
    async def consumers(request: Request) -> Response:
        return await pages.consumers(request)

    @app.get("/consumers/data")
    async def consumers_data() -> Response:
        return await pages.consumers_data()

    @app.get("/consumers/{name}/page", response_class=HTMLResponse)
    async def consumer(name: str, request: Request) -> Response:
        return await pages.consumer(name, request)

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


def _streamed(slices: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send slices one by one. The event loop serves others between them; 200,000 rows at once would block it."""

    async def one_by_one() -> AsyncIterator[bytes]:
        for part in slices:
            yield part
            await asyncio.sleep(0)

    return StreamingResponse(one_by_one(), media_type=media_type, headers=headers)


def _table_json(consumer: Consumer, description: Description, table_query: TableQuery, table: Table) -> dict[str, Any]:
    return {
        **asdict(consumer),
        "column_title": description.column_title,
        "legend": description.legend,
        "counter_kind": description.kind,
        "sort": table_query.sort,
        "order": table_query.order,
        "q": table_query.q,
        "page": table.page,
        "pages": table.pages,
        "page_rows": PAGE_ROWS if table_query.page is not None else None,
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
