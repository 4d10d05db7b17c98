"""The websocket protocol of uvicorn, without the ERROR line for each upgrade that is refused with a response."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class UpgradeProtocol(WebSocketsSansIOProtocol):
    """Ends the handshake also when the application refuses it with an HTTP response.

    uvicorn 0.54 ends it for `websocket.accept` and `websocket.close` only. For a response, which a 401 with its
    challenge has to be, it logs "ASGI callable returned without completing handshake." as an ERROR: strangers could
    fill the log with lines that look like a bug.
    """

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
