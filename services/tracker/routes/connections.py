"""Limit the number of connections and the bytes that they buffer, in total and for each address.

A connection buffers an incomplete head, the requests that the application processes, the unread part of a body, and a
response that the client has not read. All connections share one budget for these bytes. One address may use a part of
the budget, in proportion to the number of its connections, so that one client cannot use up the budget of all.
Incomplete heads may fill half of the budget, so slow heads cannot cause the refusal of complete requests.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.tracker import core

# Measured: a request in the application takes 27 kB, a connection without a request 7 kB.
REQUEST_BYTES: Final = 28_672
# Measured: 148 bytes of overhead for the shortest header.
HEADER_BYTES: Final = 160
# A target is in memory as path, as query, as decoded path, and in the event.
_TARGET_FACTOR: Final = 4
# Maximum number of refused connections with a grace period. Further ones are closed at once.
MAX_GRACED: Final = 256
# A response has about 300 bytes. Responses to pipelined requests may wait for a slow reader.
WRITE_BUFFER_BYTES: Final = 4096


class Peer:
    """The connections of one address, and the bytes that they buffer."""

    __slots__ = ("address", "buffered_bytes", "connections", "is_trusted")

    def __init__(self, address: str, *, is_trusted: bool) -> None:
        self.address = address
        self.is_trusted = is_trusted
        self.connections = 0
        self.buffered_bytes = 0


class ConnectionBounds:
    """Counts the connections of one port against their limits."""

    def __init__(
        self,
        *,
        max_connections: int,
        max_address_connections: int,
        max_buffer_bytes: int,
        max_address_buffer_bytes: int,
        trusted: Sequence[core.Network] = (),
    ) -> None:
        """`trusted` networks hold proxies. Only the limits for all connections apply to them."""
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
        """The bytes that all connections buffer."""
        return self._buffered_bytes

    @property
    def connections(self) -> int:
        """The number of open connections, without refused ones."""
        return self._connections

    def enter(self, address: str) -> Peer | None:
        """Count a connection of an address. Return None when it is over a limit. Always pair with `leave`."""
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
        """Remove a connection from the count."""
        peer.connections -= 1
        self._connections -= 1
        if not peer.connections:
            del self._peers[peer.address]

    def begin_grace(self) -> bool:
        """Return whether a refused connection gets a grace period. If so, pair with `end_grace`."""
        if self._graced >= MAX_GRACED:
            return False
        self._graced += 1
        return True

    def end_grace(self) -> None:
        """End a grace period."""
        self._graced -= 1

    def take_for_head(self, size: int, peer: Peer) -> bool:
        """Count `size` bytes of an incomplete head as `take` does, but within half of the budget."""
        return self._buffered_bytes + size <= self._max_buffer_bytes // 2 and self.take(size, peer)

    def take(self, size: int, peer: Peer | None = None) -> bool:
        """Count `size` bytes as buffered, in total and for `peer`. Count nothing and return False when over a limit."""
        if self._buffered_bytes + size > self._max_buffer_bytes:
            return False
        if peer is not None:
            if not peer.is_trusted and peer.buffered_bytes + size > self._max_address_buffer_bytes:
                return False
            peer.buffered_bytes += size
        self._buffered_bytes += size
        return True

    def give_back(self, size: int, peer: Peer | None = None) -> None:
        """Release `size` bytes that `take` has counted."""
        self._buffered_bytes -= size
        if peer is not None:
            peer.buffered_bytes -= size


class BoundedProtocol(HttpToolsProtocol):
    """A connection that counts itself and its buffered bytes against the bounds."""

    def __init__(self, *args: Any, bounds: ConnectionBounds, read_timeout_s: float, **kwargs: Any) -> None:
        """Abort the connection when the client does not read its response within `read_timeout_s`."""
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._read_timeout_s = read_timeout_s
        self._peer: Peer | None = None
        """None for a refused connection."""
        self._is_graced = False
        self._buffered_bytes = 0
        self._requests_bytes = 0
        """The bytes of the requests that the application processes."""
        self._unread_bytes = 0
        """The unread bytes of responses, counted when the kernel's buffer became full."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Count the connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._peer = self._bounds.enter(self.client[0] if self.client else "")
        self._is_graced = self._peer is None and self._bounds.begin_grace()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and its buffered bytes from the counts."""
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ARG002 - always self.app
        super()._start_asgi_task(cycle, self._run_app)

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application. It may run longer than the connection; until it ends its request counts as buffered."""
        self._is_running = True
        try:
            await self.app(scope, receive, send)
        finally:
            self._is_running = False
            if self._is_lost:
                self._release_buffers()

    def pause_writing(self) -> None:
        """Count the unread bytes. asyncio calls this when the kernel's buffer is full."""
        super().pause_writing()
        unread = self.transport.get_write_buffer_size()
        if self._bounds.take(unread):
            self._unread_bytes = unread
            self._await_reader()
        else:
            self.loop.call_soon(self.transport.abort)

    def resume_writing(self) -> None:
        """Release the unread bytes. asyncio calls this when the kernel has taken them."""
        super().resume_writing()
        self._stop_waiting_for_reader()
        if self.transport.is_closing():
            self._await_reader()

    def _await_reader(self) -> None:
        """Start the time limit for reading the response. Without it a client could keep the connection open forever."""
        if self._read_timer is None and self.transport.get_write_buffer_size():
            self._read_timer = self.loop.call_later(self._read_timeout_s, self.transport.abort)

    def _stop_waiting_for_reader(self) -> None:
        self._bounds.give_back(self._unread_bytes)
        self._unread_bytes = 0
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _may_buffer(self, size: int) -> bool:
        """Set this connection's buffered bytes to at least `size`. Return False when they are over a limit."""
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
        """Count `size` bytes of an incomplete head or of trailers, in addition to the requests in process."""
        size += self._requests_bytes + HEADER_BYTES * len(self.headers or ())
        return self._count_as_buffered(size, self._bounds.take_for_head if is_head else self._bounds.take)

    def _may_hand_over(self) -> bool:
        """Count a request with a complete head as being processed. Return False when it is over a limit."""
        self._requests_bytes += REQUEST_BYTES + _TARGET_FACTOR * len(self.url)
        self._requests_bytes += sum(len(name) + len(value) + HEADER_BYTES for name, value in self.headers)
        return self._may_buffer(self._requests_bytes)

    def _may_buffer_body(self, piece: bytes) -> bool:
        """Count the unread body of the newest request. Return False when it is over a limit."""
        if self.pipeline:  # several requests wait, each with its body
            self._requests_bytes += len(piece)
            return self._may_buffer(self._requests_bytes)
        return self._may_buffer(self._requests_bytes + len(self.cycle.body))

    def _release_buffers(self) -> None:
        """Release all buffered bytes of this connection."""
        if self._buffered_bytes and self._peer is not None:
            self._bounds.give_back(self._buffered_bytes, self._peer)
            self._buffered_bytes = 0
        self._requests_bytes = 0
