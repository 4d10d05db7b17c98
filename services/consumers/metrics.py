"""The metrics of the statistics consumers, of the action consumers and of their workers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S


class Metrics:
    """Metrics by consumer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counted = Counter(
            "push_consumer_events_counted", "Events counted, by consumer", ("consumer",), registry=registry
        )
        self.invalid = Counter(
            "push_consumer_events_invalid",
            "Records that are not valid events, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.duplicates = Counter(
            "push_consumer_events_duplicates",
            "Records dropped because an event with the same fingerprint was counted before, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.refused_batches = Counter(
            "push_consumer_batches_refused",
            "Batches rejected because they do not begin at the stored position, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.missed = Counter(
            "push_consumer_offsets_missed",
            "Offsets that the topic had removed before they were counted, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.given_up = Counter(
            "push_consumer_offsets_given_up",
            "Offsets by which positions were moved back because the topic was recreated or lost its end, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.partitions = Gauge(
            "push_consumer_partitions",
            "Partitions assigned to this member, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.stopped = Gauge(
            "push_consumer_partitions_stopped",
            "Assigned partitions that are not counted because their stored position is invalid, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.lag = Gauge(
            "push_consumer_lag_events",
            "Events in the topic not yet counted, by consumer and partition",
            ("consumer", "partition"),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "push_consumer_batch_seconds",
            "Time to fold the batches of a poll and write their counts, by consumer",
            ("consumer",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def begin(self, consumer: str, *, partitions: Callable[[], float], stopped: Callable[[], float]) -> None:
        """Export zeros for this consumer, so that Prometheus sees the first event of each counter as an increase.

        Each scrape calls `partitions` and `stopped`, also while the consumer's loop waits.
        """
        for counter in (self.counted, self.invalid, self.duplicates, self.refused_batches, self.missed, self.given_up):
            counter.labels(consumer)
        self.partitions.labels(consumer).set_function(partitions)
        self.stopped.labels(consumer).set_function(stopped)
        self.batch_seconds.labels(consumer)


_ACTION_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)


class ActionMetrics:
    """Metrics of the action consumers, by handler.

    In each process, at each scrape: taken = acted + dead + dropped + unfinished.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.taken = _counter("taken", "Events that need an action, by handler", registry)
        self.passed = _counter("passed", "Records that need no action, by handler", registry)
        self.acted = _counter("acted", "Events that were acted on, by handler", registry)
        self.dead = _counter("dead", "Events that went to the dead list, by handler", registry)
        self.invalid = _counter("invalid", "Those of the dead events that are invalid, by handler", registry)
        self.dropped = _counter(
            "dropped", "Unfinished events that the next owner of their partition takes again, by handler", registry
        )
        self.dead_again = _counter(
            "dead_again", "Retried actions that went to the dead list again, by handler", registry
        )
        self.sent = _counter("sent", "Tasks sent to the workers, repeated ones included, by handler", registry)
        self.missed = _counter(
            "missed", "Offsets that the topic had removed before they were acted on, by handler", registry
        )
        self.unfinished = _gauge("unfinished", "Events that were taken and are not finished, by handler", registry)
        self.in_flight = _gauge("in_flight", "Actions that are sent and not finished, by handler", registry)
        self.waiting = _gauge("waiting", "Polled actions that are not sent yet, by handler", registry)
        self.oldest = _gauge(
            "oldest_seconds", "Time since the poll of the oldest unfinished action, by handler", registry
        )
        self.away = _gauge("dependency_away", "1 while the service that actions need is away, by handler", registry)
        self.provider_wait_limit = _gauge(
            "provider_wait_limit_seconds",
            "Time that an action may wait for a provider until an alert; 0 if it calls none, by handler",
            registry,
        )
        self.lag = Gauge(
            "push_action_lag_events",
            "Events in the topic after the committed offset, by handler and partition",
            ("handler", "partition"),
            registry=registry,
        )
        self.seconds = Histogram(
            "push_action_seconds",
            "Time from the poll of an event to the report of its end, by handler",
            ("handler",),
            buckets=_ACTION_BUCKETS_S,
            registry=registry,
        )

    def begin(  # noqa: PLR0913 - a function for each gauge
        self,
        handler: str,
        *,
        unfinished: Callable[[], float],
        in_flight: Callable[[], float],
        waiting: Callable[[], float],
        oldest_s: Callable[[], float],
        away: Callable[[], float],
    ) -> None:
        """Export zeros for this handler. Each scrape calls the functions."""
        events = (self.taken, self.passed, self.acted, self.dead, self.invalid, self.dropped, self.missed)
        for counter in (*events, self.dead_again, self.sent):
            counter.labels(handler)
        self.unfinished.labels(handler).set_function(unfinished)
        self.in_flight.labels(handler).set_function(in_flight)
        self.waiting.labels(handler).set_function(waiting)
        self.oldest.labels(handler).set_function(oldest_s)
        self.away.labels(handler).set_function(away)
        self.seconds.labels(handler)


class WorkerMetrics:
    """Metrics of a Celery worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.silent_s = Gauge(
            "push_action_worker_silent_seconds", "Age of the last ping that the worker received", registry=registry
        )
        self.silence_limit_s = Gauge(
            "push_action_worker_silence_limit_seconds",
            "Age of the last ping at which the worker is restarted",
            registry=registry,
        )
        self.queued = Gauge(
            "push_action_queued",
            "Tasks that wait in the queue of a handler, by handler",
            ("handler",),
            registry=registry,
        )
        self.ended = Gauge(
            "push_action_ended",
            "Actions that all workers have ended since Redis was last emptied, by handler and end (done, dead)",
            ("handler", "end"),
            registry=registry,
        )
        self.redis_memory = Gauge(
            "push_action_redis_memory_ratio",
            "Used share of the memory limit of the Redis of the actions; 0 without a limit",
            registry=registry,
        )
        self.dead_size = Gauge("push_action_dead_list", "Actions in the dead list", registry=registry)


class AdminMetrics:
    """Metrics of the pages for operators."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refused = Counter(
            "push_action_page_requests_refused",
            "Refused requests for the pages of actions, by reason: host, origin, credentials (missing), password "
            "(wrong), delayed (not checked after wrong passwords)",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed"):
            self.refused.labels(reason)


def _counter(name: str, explanation: str, registry: CollectorRegistry) -> Counter:
    return Counter(f"push_action_{name}", explanation, ("handler",), registry=registry)


def _gauge(name: str, explanation: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(f"push_action_{name}", explanation, ("handler",), registry=registry)
