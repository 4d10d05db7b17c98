"""The metrics of the importers. The process of the pages exports them, from what Redis has of their runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.offerserver.core.grades import GradeName
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.pictures import PICTURE_RESULTS

GRADES: Final = get_args(GradeName)
RESULTS = ("new", "match", "content", "removed", "rejected", "refused")


class ImporterMetric(NamedTuple):
    """What the metrics need of one importer."""

    source: OfferSource
    totals: Mapping[str, int]
    age_s: float
    """Since the last trusted run, or since the first run if there was none. 0 before it."""
    partial_in_a_row: int
    interval_s: float
    """The longest time between two planned runs, such as a weekend."""
    stale_after_s: float


class OfferWorkerMetrics:
    """Metrics of a worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.silent = Gauge(
            "push_offers_worker_silent_seconds", "Time since the worker has executed a check", registry=registry
        )


class OfferMetrics(Collector):
    """Metrics by importer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._importers: Sequence[ImporterMetric] = ()
        self.refused = Counter(
            "push_offers_page_requests_refused",
            "Refused requests for the pages of importers, by reason: host, origin, credentials (missing), password "
            "(wrong), delayed (not checked after wrong passwords)",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed"):
            self.refused.labels(reason)
        registry.register(self)

    def set(self, importers: Iterable[ImporterMetric]) -> None:
        """Replace what is exported."""
        self._importers = tuple(importers)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all importers."""
        label = ("importer",)
        runs = CounterMetricFamily("push_offers_runs", "Runs by grade", labels=(*label, "grade"))
        items = CounterMetricFamily("push_offers_items", "Items by what became of them", labels=(*label, "result"))
        pictures = CounterMetricFamily(
            "push_offers_pictures",
            "Pictures by what became of them: uploaded, known to the imageserver, not fetched from their source, "
            "rejected by the imageserver, not stored because it failed",
            labels=(*label, "result"),
        )
        received = CounterMetricFamily("push_offers_received_bytes", "Bytes of responses of sources", labels=label)
        retries = CounterMetricFamily("push_offers_retries", "Requests to sources that were sent again", labels=label)
        lost = CounterMetricFamily("push_offers_leases_lost", "Runs that lost their lease", labels=label)
        age = GaugeMetricFamily(
            "push_offers_last_success_age_seconds",
            "Time since the last trusted run, or since the first run",
            labels=label,
        )
        partial = GaugeMetricFamily("push_offers_partial_runs", "Partial runs since the last other one", labels=label)
        interval = GaugeMetricFamily(
            "push_offers_interval_seconds", "Longest time between two planned runs", labels=label
        )
        stale = GaugeMetricFamily(
            "push_offers_stale_after_seconds", "Time without a trusted run after which offers are removed", labels=label
        )
        for each in self._importers:
            name = each.source.name
            for grade in GRADES:
                runs.add_metric((name, grade), each.totals.get(f"grade:{grade}", 0))
            for result in RESULTS:
                items.add_metric((name, result), each.totals.get(f"items:{result}", 0))
            for picture_result in PICTURE_RESULTS:
                pictures.add_metric((name, picture_result), each.totals.get(f"pictures:{picture_result}", 0))
            received.add_metric((name,), each.totals.get("bytes", 0))
            retries.add_metric((name,), each.totals.get("retries", 0))
            lost.add_metric((name,), each.totals.get("lease_lost", 0))
            age.add_metric((name,), each.age_s)
            partial.add_metric((name,), each.partial_in_a_row)
            interval.add_metric((name,), each.interval_s)
            stale.add_metric((name,), each.stale_after_s)
        yield from (runs, items, pictures, received, retries, lost, age, partial, interval, stale)
