"""All topics that a live view can show: the events and the dead letters."""

from services.backbone import names
from services.kafidx.core.live import OpenViews
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.live_topic import LiveTopic


class Topics:
    """The topics by name. They share one limit of open views. A topic without subscribers has no reader."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._views = OpenViews(limit=settings.max_subscribers)
        self._topics = {
            name: LiveTopic(settings, metrics, name, self._views)
            for name in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC)
        }

    def __getitem__(self, name: str) -> LiveTopic:
        """Return the topic of this name, which `parse_topic` has checked (core/query.py)."""
        return self._topics[name]

    def observe(self) -> None:
        """Update the gauges."""
        self._metrics.subscribers.set(self._views.count)
        self._metrics.queued_bytes.set(sum(topic.queued_bytes for topic in self._topics.values()))
        for partition, lag in self._topics[names.EVENTS_TOPIC].lag().items():
            self._metrics.lag.labels(str(partition)).set(lag)

    async def aclose(self) -> None:
        for topic in self._topics.values():
            await topic.aclose()
