"""The protocol of the public port: closes connections whose clients send or read too slowly.

The routes limit the time of a body. What is before and after it is up to the server: the head of a request, a body that
continues after its response, and a response that the client does not read.
"""

import asyncio
from typing import Final

from services.backbone.process import HeadsOnlyProtocol

ABORT: Final = "push.abort"
"""The extension of the ASGI scope whose `call` closes the connection: a body that breaks off has no other end."""


class SlowClientProtocol(HeadsOnlyProtocol):
    """The protocol of one connection, with time limits in seconds."""

    head_timeout_s = 20.0
    """From the first byte of a request, or from the connection, to the end of its head."""
    rest_timeout_s = 10.0
    """For the rest of a body after its response. Some clients read a response only when they have sent all."""
    stall_timeout_s = 30.0
    """Without room in the send buffer of 64 kB."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._in_message = False
        super().connection_made(transport)
        self._head_timer = self._start(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._rest_timer, self._stall_timer):
            _cancel(timer)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_message = True
        _cancel(self._head_timer)
        self._head_timer = self._start(self.head_timeout_s)
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_headers_complete(self) -> None:
        _cancel(self._head_timer)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        _cancel(self._rest_timer)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message:
            self._rest_timer = self._start(self.rest_timeout_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self._start(self.stall_timeout_s)

    def resume_writing(self) -> None:
        _cancel(self._stall_timer)
        super().resume_writing()

    def _start(self, seconds: float) -> asyncio.TimerHandle:
        # Not `close`, which waits until the client has read all buffered bytes.
        return self.loop.call_later(seconds, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
