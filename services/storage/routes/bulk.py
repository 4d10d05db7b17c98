"""The routes of bulk requests. Bodies and responses are streams, so that the number of objects needs no memory."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from services.storage.core.bulk_json import BulkReader, MalformedBody
from services.storage.core.fields import MAX_OWNER_CHARACTERS
from services.storage.core.filters import ListFilter, parse_arrival, parse_box, parse_bulk_event, parse_names
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_IMPORT, StoredObject, delete_object
from services.storage.core.responses import API_VERSION, encode_response, visible_object
from services.storage.routes.bulk_writer import LISTS, BulkWriter
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError, json_response
from services.storage.routes.requests import body_pieces, caller_of, parameters_of, text_parameter
from services.storage.store.bulk import ExtdataRow

_KIND: Final[SubjectKind] = "offer"
_PIECE_BYTES: Final = 65_536


class BulkRoutes:
    """All offers of an owner, and many offers at once."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._stores = context.stores

    async def read(self, owner: str, request: Request) -> Response:
        """Stream all offers of an owner, also inactive ones and those out of their validity. `sw` and `ne`: a box."""
        name = text_parameter(owner, "owner", most=MAX_OWNER_CHARACTERS)
        wanted = ListFilter(owner=name, region=parse_box(parameters_of(request)), only_valid=False)
        is_own = caller_of(request).acts_for(name, name)
        found = self._stores.lists.stream(_KIND, wanted, now_ms=self._context.now_ms(), sees_true=is_own)
        # Read the first object before the status is sent, so that an outage is a 503.
        first = await anext(found, None)
        if request.method == "HEAD":
            await found.aclose()
            return Response(media_type="application/json")
        return StreamingResponse(_document_stream(first, found, is_own=is_own), media_type="application/json")

    async def extdata(self, owner: str, request: Request) -> Response:
        """Stream some names of the `extdata` of all offers of an owner, with their ids, ends and images."""
        self._require_service(request)
        name = text_parameter(owner, "owner", most=MAX_OWNER_CHARACTERS)
        found = self._stores.bulk.extdata_of_owner(_KIND, name, parse_names(parameters_of(request)))
        first: list[ExtdataRow] = await anext(found, [])  # before the status is sent, so that an outage is a 503
        if request.method == "HEAD":
            return Response(media_type="application/json")
        return StreamingResponse(_row_stream(first, found), media_type="application/json")

    async def write(self, request: Request) -> Response:
        """Create, change and remove offers, and return a result for each. No event is sent but `bud`.

        `event=later` leaves the event to a later request of the owner, or to its time after a kill. `event=none`: no
        event, for changes that nobody has to know. A new offer with an `_id` is created once, however often it is sent.
        `until=<ms since 1970>`: a request that arrives later writes nothing (408). Its sender may have been frozen
        meanwhile, and another one has begun.

        A wrong object does not stop the others. If the body turns out to be malformed, the objects before the error are
        written, and the response (400) has their results.
        """
        self._require_service(request)
        settings, parameters = self._context.settings, parameters_of(request)
        until_ms, now_ms = parse_arrival(parameters), self._context.now_ms()
        if until_ms is not None and now_ms > until_ms:
            raise ApiError(408, "too_late", f"the request arrived {now_ms - until_ms} ms after its time")
        writer = BulkWriter(self._context, event=parse_bulk_event(parameters))
        reader = BulkReader(LISTS, max_element=settings.max_body_bytes)
        status, content = 200, b'{"status":"ok"'
        try:
            async for piece in body_pieces(
                request, max_bytes=settings.max_bulk_bytes, timeout_s=settings.body_timeout_s
            ):
                await writer.add(reader.feed(piece))
            await writer.add(reader.feed(b"", is_last=True))
        except (MalformedBody, ApiError) as error:
            status = error.status if isinstance(error, ApiError) else 400
            code = error.code if isinstance(error, ApiError) else "malformed"
            failure = {"version": API_VERSION, "error": code, "detail": str(error)}
            content = msgspec.json.encode(failure).removesuffix(b"}")
        finally:
            await writer.finish()
        return Response(content + b',"results":[' + writer.results + b"]}", status, media_type="application/json")

    async def delete(self, owner: str, request: Request) -> Response:
        """Delete all offers of an owner."""
        self._require_service(request)
        name, context = text_parameter(owner, "owner", most=MAX_OWNER_CHARACTERS), self._context

        def remove(stored: StoredObject) -> StoredObject:
            return delete_object(stored, now_ms=context.now_ms(), rank=RANK_IMPORT)

        deleted = 0
        writer = BulkWriter(context)
        await writer.owe(name)
        async for ids in self._stores.bulk.ids_of_owner(_KIND, name):
            outcomes = await self._stores.bulk.change_many(_KIND, dict.fromkeys(ids, remove))
            deleted += sum(outcome == "changed" for outcome in outcomes.values())
        await writer.finish()
        context.metrics.changes.labels(_KIND, "delete").inc(deleted)
        return json_response({"status": "ok", "deleted": deleted})

    async def notify_searchers(self, owner: str, request: Request) -> Response:
        """Match the active and valid offers of an owner again, behind single changes."""
        self._require_service(request)
        name = text_parameter(owner, "owner", most=MAX_OWNER_CHARACTERS)
        due_ms = self._context.now_ms() - round(1000 * self._context.settings.match_grace_s)
        return json_response({"status": "ok", "marked": await self._stores.marks.mark_owner(_KIND, name, due_ms)})

    def _require_service(self, request: Request) -> None:
        if not caller_of(request).is_service:
            raise ApiError(403, "forbidden", "bulk changes need the credentials of a service")


async def _row_stream(first: list[ExtdataRow], rest: AsyncIterator[list[ExtdataRow]]) -> AsyncIterator[bytes]:
    yield msgspec.json.encode({"version": API_VERSION}).removesuffix(b"}") + b',"data":['
    separator = b""
    rows = first
    while rows:
        documents = [
            {"_id": row.id, "validuntil": row.valid_until_ms, "extdata": row.extdata}
            | ({"images": row.images} if row.images else {})
            for row in rows
        ]
        yield separator + encode_response(documents)[1:-1]
        separator = b","
        rows = await anext(rest, [])
    yield b"]}"


async def _document_stream(
    first: StoredObject | None, rest: AsyncGenerator[StoredObject, None], *, is_own: bool
) -> AsyncIterator[bytes]:
    piece = bytearray(msgspec.json.encode({"version": API_VERSION}).removesuffix(b"}") + b',"data":[')
    async with contextlib.aclosing(rest):
        if first is not None:
            piece += encode_response(visible_object(first, is_own=is_own))
        async for stored in rest:
            piece += b","
            piece += encode_response(visible_object(stored, is_own=is_own))
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    yield bytes(piece + b"]}")
