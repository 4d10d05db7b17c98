"""RedisOutages: one log line when Redis goes away, and one when it is back, however often it is asked meanwhile."""

import time

from services.backbone.logs import get_logger

log = get_logger(__name__)


class RedisOutages:
    """The outages of one Redis, as a loop that asks it again and again sees them."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def failed(self, error: Exception) -> None:
        """Note a failed request. Only the first one of an outage is logged."""
        if self._since_s is None:
            self._since_s = time.monotonic()
            log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")

    def succeeded(self) -> None:
        """Note a successful request. The first one after an outage is logged, with the seconds of the outage."""
        if self._since_s is not None:
            log.info("redis_returned", seconds=round(time.monotonic() - self._since_s, 1))
            self._since_s = None
