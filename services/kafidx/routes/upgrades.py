"""The websocket protocol of uvicorn, without an ERROR line for each upgrade that is refused with a response."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class UpgradeProtocol(WebSocketsSansIOProtocol):
    """Completes the handshake also when the application refuses it with an HTTP response.

    uvicorn 0.54 completes it only for `websocket.accept` and `websocket.close`. A 401 with a challenge must be a
    response. For it uvicorn logs the ERROR "ASGI callable returned without completing handshake.", so that any client
    could fill the log with lines that look like a bug.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
