"""Bounds on connections and on what they buffer: for all connections, and for those of one address.

A connection buffers an unfinished head, the requests that the application has in hand, the pieces of a body that it has
not read yet, and a response that the client does not read. These bytes have one budget. An address may have a part of
it that is in proportion to the connections that it may open, so that one client cannot use up the budget of all.
Unfinished heads may fill half of it: what arrives slowly does not refuse requests that have come whole.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.tracker import core

# Measured: a request that the application has in hand takes 27 kB, a connection without one 7 kB.
REQUEST_BYTES: Final = 28_672
# Measured: 148 bytes for the shortest header, beside its own bytes.
HEADER_BYTES: Final = 160
# A target is held as path, as query, as decoded path, and in the event that is made of it.
_TARGET_FACTOR: Final = 4
# Refused connections that get time to read their response; those beyond are closed at once.
MAX_GRACED: Final = 256
# Responses of single requests have some 300 bytes. Those to pipelined requests may wait for a client that reads late.
WRITE_BUFFER_BYTES: Final = 4096


class Peer:
    """What the connections of one address have open."""

    __slots__ = ("address", "buffered_bytes", "connections", "is_trusted")

    def __init__(self, address: str, *, is_trusted: bool) -> None:
        self.address = address
        self.is_trusted = is_trusted
        self.connections = 0
        self.buffered_bytes = 0


class ConnectionBounds:
    """The connections of one port, and their bounds."""

    def __init__(
        self,
        *,
        max_connections: int,
        max_address_connections: int,
        max_buffer_bytes: int,
        max_address_buffer_bytes: int,
        trusted: Sequence[core.Network] = (),
    ) -> None:
        """`trusted` networks hold proxies: only the bounds of all connections apply to them."""
        self._max_connections = max_connections
        self._max_address_connections = max_address_connections
        self._max_buffer_bytes = max_buffer_bytes
        self._max_address_buffer_bytes = max_address_buffer_bytes
        self._trusted = trusted
        self._peers: dict[str, Peer] = {}
        self._connections = 0
        self._buffered_bytes = 0
        self._graced = 0

    @property
    def buffered_bytes(self) -> int:
        """What all connections buffer."""
        return self._buffered_bytes

    @property
    def connections(self) -> int:
        """How many connections are open, without those that are being refused."""
        return self._connections

    def enter(self, address: str) -> Peer | None:
        """Count a connection of an address. Return None when it is one too many. Pair with `leave`."""
        if self._connections >= self._max_connections:
            return None
        key = core.client_network(address)
        peer = self._peers.get(key)
        if peer is None:
            peer = Peer(key, is_trusted=core.is_inside(address, self._trusted))
            self._peers[key] = peer
        elif peer.connections >= self._max_address_connections and not peer.is_trusted:
            return None
        peer.connections += 1
        self._connections += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """End a connection that `enter` has counted."""
        peer.connections -= 1
        self._connections -= 1
        if not peer.connections:
            del self._peers[peer.address]

    def begin_grace(self) -> bool:
        """Return whether a refused connection may stay open for a moment. If so, pair with `end_grace`."""
        if self._graced >= MAX_GRACED:
            return False
        self._graced += 1
        return True

    def end_grace(self) -> None:
        """End what `begin_grace` has allowed."""
        self._graced -= 1

    def take_for_head(self, size: int, peer: Peer) -> bool:
        """Count `size` bytes of an unfinished head as `take` does, within half of the budget."""
        return self._buffered_bytes + size <= self._max_buffer_bytes // 2 and self.take(size, peer)

    def take(self, size: int, peer: Peer | None = None) -> bool:
        """Count `size` bytes as buffered, with `peer` also as its own. Return False when they are over a bound.

        Then nothing is counted.
        """
        if self._buffered_bytes + size > self._max_buffer_bytes:
            return False
        if peer is not None:
            if not peer.is_trusted and peer.buffered_bytes + size > self._max_address_buffer_bytes:
                return False
            peer.buffered_bytes += size
        self._buffered_bytes += size
        return True

    def give_back(self, size: int, peer: Peer | None = None) -> None:
        """Count `size` bytes that `take` has counted as buffered no more."""
        self._buffered_bytes -= size
        if peer is not None:
            peer.buffered_bytes -= size


class BoundedProtocol(HttpToolsProtocol):
    """One connection that counts against the bounds, with what it buffers. It ends when its client does not read."""

    def __init__(self, *args: Any, bounds: ConnectionBounds, read_timeout_s: float, **kwargs: Any) -> None:
        """Abort the connection when a client has not read its response within `read_timeout_s`."""
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._read_timeout_s = read_timeout_s
        self._peer: Peer | None = None
        """None for a connection that is refused."""
        self._is_graced = False
        self._buffered_bytes = 0
        self._requests_bytes = 0
        """What the requests take that the application has in hand."""
        self._unread_bytes = 0
        """What the client has not read of a response, as counted when the system took no more of it."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count the connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._peer = self._bounds.enter(self.client[0] if self.client else "")
        self._is_graced = self._peer is None and self._bounds.begin_grace()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection, and what it buffered, no more."""
        self._is_lost = True
        if not self._is_running:
            self._release_buffers()
        if self._peer is not None:
            self._bounds.leave(self._peer)
        if self._is_graced:
            self._bounds.end_grace()
            self._is_graced = False
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ARG002 - it is always the same
        super()._start_asgi_task(cycle, self._run_app)

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application. A client that is gone does not end it: until then its request counts as buffered."""
        self._is_running = True
        try:
            await self.app(scope, receive, send)
        finally:
            self._is_running = False
            if self._is_lost:
                self._release_buffers()

    def pause_writing(self) -> None:
        """Count what the client has not read. Called when the system takes no more of it."""
        super().pause_writing()
        unread = self.transport.get_write_buffer_size()
        if self._bounds.take(unread):
            self._unread_bytes = unread
            self._await_reader()
        else:
            self.loop.call_soon(self.transport.abort)

    def resume_writing(self) -> None:
        """Count it no more. Called when the system has taken it."""
        super().resume_writing()
        self._stop_waiting_for_reader()
        if self.transport.is_closing():
            self._await_reader()

    def _await_reader(self) -> None:
        """Give the client time to read what is written. Without a limit a client could hold the connection for ever."""
        if self._read_timer is None and self.transport.get_write_buffer_size():
            self._read_timer = self.loop.call_later(self._read_timeout_s, self.transport.abort)

    def _stop_waiting_for_reader(self) -> None:
        self._bounds.give_back(self._unread_bytes)
        self._unread_bytes = 0
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _may_buffer(self, size: int) -> bool:
        """Count `size` bytes, in all, as buffered by this connection. Return False when they are over a bound."""
        return self._count_as_buffered(size, self._bounds.take)

    def _count_as_buffered(self, size: int, take: Callable[[int, Peer], bool]) -> bool:
        more = size - self._buffered_bytes
        if more <= 0:
            return True
        if self._peer is None or not take(more, self._peer):
            return False
        self._buffered_bytes = size
        return True

    def _may_buffer_fields(self, size: int, *, is_head: bool) -> bool:
        """Count an unfinished head, or trailers, of `size` bytes beside the requests in hand."""
        size += self._requests_bytes + HEADER_BYTES * len(self.headers or ())
        return self._count_as_buffered(size, self._bounds.take_for_head if is_head else self._bounds.take)

    def _may_hand_over(self) -> bool:
        """Count the request whose head is complete as in the application's hand."""
        self._requests_bytes += REQUEST_BYTES + _TARGET_FACTOR * len(self.url)
        self._requests_bytes += sum(len(name) + len(value) + HEADER_BYTES for name, value in self.headers)
        return self._may_buffer(self._requests_bytes)

    def _may_buffer_body(self, piece: bytes) -> bool:
        """Count what the application has not read of the newest request's body."""
        if self.pipeline:  # bodies of several requests wait
            self._requests_bytes += len(piece)
            return self._may_buffer(self._requests_bytes)
        return self._may_buffer(self._requests_bytes + len(self.cycle.body))

    def _release_buffers(self) -> None:
        """Count nothing as buffered."""
        if self._buffered_bytes and self._peer is not None:
            self._bounds.give_back(self._buffered_bytes, self._peer)
            self._buffered_bytes = 0
        self._requests_bytes = 0
