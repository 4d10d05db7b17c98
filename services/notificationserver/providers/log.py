"""LogChannel: logs that a message would be sent. For local use."""

from services.backbone.logs import get_logger
from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.providers.parcels import Parcel

log = get_logger(__name__)


class LogChannel:
    """Logs the id and the kind of a message, not its text."""

    async def send(self, parcel: Parcel) -> Outcome:
        log.info("message", id=parcel.message.id, kind=parcel.message.kind)
        return Outcome("delivered")
