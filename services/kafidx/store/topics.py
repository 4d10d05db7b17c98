"""The topics that can be watched: the events and the dead letters."""

from services.backbone import names
from services.kafidx.core.views import OpenViews
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.topic import EventTopic


class Topics:
    """Each topic by its name. They share the number of views that may be open; what nobody watches costs nothing."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._views = OpenViews(limit=settings.max_subscribers)
        self._topics = {
            name: EventTopic(settings, metrics, name, self._views)
            for name in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC)
        }

    def __getitem__(self, name: str) -> EventTopic:
        """Return the topic of this name, which a view has been checked for (core/view.py)."""
        return self._topics[name]

    def observe(self) -> None:
        """Set the metrics that are states."""
        self._metrics.subscribers.set(self._views.count)
        self._metrics.queued_bytes.set(sum(topic.queued_bytes for topic in self._topics.values()))
        for partition, lag in self._topics[names.EVENTS_TOPIC].lag().items():
            self._metrics.lag.labels(str(partition)).set(lag)

    async def aclose(self) -> None:
        """Close every reader."""
        for topic in self._topics.values():
            await topic.aclose()
