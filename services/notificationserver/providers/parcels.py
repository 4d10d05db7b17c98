"""What a channel sends, and what all channels have in common."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from services.backbone.outgoing import OutgoingClient, OutgoingFailed, OutgoingRefused, OutgoingResponse
from services.notificationserver.core.deliveries import Delivery
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.messages import Message
from services.notificationserver.core.outcomes import Outcome


class Parcel(NamedTuple):
    """A message to send through one channel, and the device that it is for."""

    delivery: Delivery
    message: Message
    mapping: DeviceMapping | None
    now_ms: int
    """The time of the attempt."""


class DeliveryChannel(Protocol):
    """A way to a device."""

    async def send(self, parcel: Parcel) -> Outcome:
        """Attempt a delivery once and return its outcome."""


async def post(client: OutgoingClient, url: str, body: bytes, headers: Mapping[str, str]) -> OutgoingResponse | Outcome:
    """Send a POST and return its response, or the outcome of an attempt without one.

    A refused address is attempted again: a name can resolve to an allowed address later.
    """
    try:
        return await client.post(url, body=body, headers=headers)
    except OutgoingRefused as error:
        return Outcome("retry", f"refused: {error}")
    except OutgoingFailed as error:
        return Outcome("retry", str(error))
