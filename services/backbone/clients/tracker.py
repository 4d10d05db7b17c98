"""TrackerClient: sends the events of our own services to the tracker.

The contract: `POST /w/<type>` with the parameters as a form, and the event's id in the header Idempotency-Key. A 2xx
response means that the event is stored. An event that is sent again under its id is the same event.
"""

from collections.abc import Mapping
from urllib.parse import quote

from services.backbone.clients.errors import RequestRefused, ServiceUnavailable
from services.backbone.clients.own_service import ServiceClient

EventUnavailable = ServiceUnavailable
"""Raised while the event is not accepted. Send it again later under the same id."""
EventRefused = RequestRefused
"""Raised when the event itself is rejected. To send it again does not help."""


class TrackerClient(ServiceClient):
    """Sends events. An async context manager."""

    async def send(self, event_type: str, params: Mapping[str, str | list[str]], *, event_id: str) -> None:
        """Send an event, with at most `attempts` requests. A parameter with a list occurs once for each value.

        Returns after a 2xx.

        Raises EventUnavailable or EventRefused.
        """
        headers = {"Idempotency-Key": event_id, "User-Agent": "push"}
        form = [
            (name, value)
            for name, values in params.items()
            for value in ([values] if isinstance(values, str) else values)
        ]
        await self._client.post(f"{self._url}/w/{quote(event_type, safe='')}", form, headers)
