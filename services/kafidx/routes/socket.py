"""The websocket /kafidx/socket: parses the query, then sends frames until either side closes."""

import asyncio
import contextlib
import time
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from services.backbone.kafka import KafkaUnavailable
from services.backbone.logs import get_logger
from services.kafidx.core.events import Row
from services.kafidx.core.live import Sessions, TooManyViews
from services.kafidx.core.positions import Start
from services.kafidx.core.query import BadQuery, View, parse_view
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.subscriber import Subscriber
from services.kafidx.store.topics import Topics

log = get_logger(__name__)

BAD_QUERY: Final = 4400
_TRY_LATER: Final = 1013
_FAILED: Final = 1011
_FIRST_MESSAGE_S: Final = 0.15
"""How long a socket without `from=offset` waits for a resume message before it sends the first row."""
_CLOSE_S: Final = 2.0

_encode = msgspec.json.encode


class _Resume(msgspec.Struct, tag_field="kind", tag="resume"):
    positions: dict[int, int]


class LiveSocket:
    """Serves the sockets of the live page. Each socket has its own view."""

    def __init__(self, topics: Topics, settings: Settings, metrics: Metrics) -> None:
        self._topics = topics
        self._settings = settings
        self._metrics = metrics
        self._sessions = Sessions()

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket whose upgrade has passed the guard."""
        await socket.accept()
        try:
            view = parse_view(socket.url.query)
            await self._show(socket, view)
        except BadQuery as error:
            await self._refuse(socket, "query", error.as_dict(), BAD_QUERY)
        except TooManyViews:
            reason = f"the limit of {self._settings.max_subscribers} open live views is reached"
            await self._refuse(
                socket, "subscribers", {"parameter": None, "position": None, "reason": reason}, _TRY_LATER
            )
        except KafkaUnavailable as error:
            log.warning("subscriber_refused", error=str(error))
            reason = "Kafka does not respond"
            await self._refuse(socket, "kafka", {"parameter": None, "position": None, "reason": reason}, _TRY_LATER)
        except WebSocketDisconnect:
            pass

    async def _show(self, socket: WebSocket, view: View) -> None:
        topic = self._topics[view.topic]
        subscriber = await topic.subscribe(view.filter, self._start_of(view))
        # Receive in a separate task. It notices a disconnect while a frame waits for a peer that does not read.
        first: asyncio.Future[Start | None] = asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(_listen(socket, first))
        try:
            await socket.send_text(self._hello(view, subscriber))
            resume = None if view.start and view.start.kind == "offset" else await _within(first, _FIRST_MESSAGE_S)
            if resume is not None:
                await topic.leave(subscriber)
                subscriber = await topic.subscribe(view.filter, resume)
                await socket.send_text(self._hello(view, subscriber))
            sending = asyncio.create_task(self._send(socket, subscriber))
            try:
                await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if not sending.cancelled() and (error := sending.exception()) is not None:
                raise error
            if not listening.done():
                await _close(socket, _FAILED)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await topic.leave(subscriber)
            if view.session is not None:
                self._sessions.remember(view.session, view.topic, subscriber.resume_positions())

    async def _send(self, socket: WebSocket, subscriber: Subscriber) -> None:
        """Send frames until they end or the peer reads nothing for `stuck_s` seconds."""
        async for frame in subscriber.frames():
            try:
                async with asyncio.timeout(self._settings.stuck_s):
                    await socket.send_text(frame)
            except TimeoutError:
                log.info("subscriber_stuck", stuck_s=self._settings.stuck_s, dropped=subscriber.queue.dropped)
                return
            except (WebSocketDisconnect, RuntimeError):
                return  # the peer closed the socket while a frame was being sent

    def _start_of(self, view: View) -> Start:
        if view.session is not None and view.reset:
            self._sessions.discard(view.session, view.topic)
        if view.start is not None:
            return view.start
        stopped_at = None if view.session is None else self._sessions.recall(view.session, view.topic)
        return Start() if stopped_at is None else Start("offset", offsets=stopped_at)

    def _hello(self, view: View, subscriber: Subscriber) -> str:
        hello: dict[str, Any] = {
            "kind": "hello",
            "session": view.session,
            "topic": view.topic,
            "partitions": len(subscriber.next),
            "columns": list(Row.__struct_fields__),
            "now": time.time_ns() // 1_000_000,
            "positions": {str(p): at for p, at in sorted(subscriber.resume_positions().items())},
            "missed": subscriber.missed,
        }
        return _encode(hello).decode()

    async def _refuse(self, socket: WebSocket, kind: str, error: dict[str, Any], code: int) -> None:
        self._metrics.refused.labels(kind).inc()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_text(_encode({"kind": "error", **error}).decode())
        await _close(socket, code, error["reason"])


async def _listen(socket: WebSocket, first: asyncio.Future[Start | None]) -> None:
    """Receive messages until the peer disconnects. Only the first message is used, if it is a resume."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not first.done():
                first.set_result(_resume(message.get("text") or message.get("bytes") or ""))
    finally:
        if not first.done():
            first.set_result(None)


def _resume(message: str | bytes) -> Start | None:
    try:
        positions = msgspec.json.decode(message, type=_Resume).positions
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return Start("offset", offsets={p: at for p, at in positions.items() if p >= 0 and 0 <= at < 2**63})


async def _within(first: asyncio.Future[Start | None], limit_s: float) -> Start | None:
    done, _ = await asyncio.wait({first}, timeout=limit_s)
    return first.result() if done else None


async def _close(socket: WebSocket, code: int, reason: str = "") -> None:
    """Close the socket. Give up after two seconds when the peer has gone or reads nothing."""
    if socket.application_state is not WebSocketState.CONNECTED:
        return
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
