"""The metrics of kafkastore."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S


class Metrics:
    """The counters of kafkastore, and the ledgers of its Redis servers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.claimed = Counter("push_kafkastore_events_claimed", "Entries claimed from Redis", registry=registry)
        self.produced = Counter(
            "push_kafkastore_events_produced", "Events that Kafka has acknowledged", registry=registry
        )
        self.dead = Counter(
            "push_kafkastore_events_dead",
            "Entries sent to the dead letters, by stage",
            ("stage",),
            registry=registry,
        )
        for stage in ("decode", "enrich", "encode", "produce"):
            self.dead.labels(stage)  # export 0 from the start, so that the first dead letter is an increase
        self.erased = Counter(
            "push_kafkastore_events_erased",
            "Entries dropped because their device is erased",
            registry=registry,
        )
        self.reclaimed = Counter(
            "push_kafkastore_events_reclaimed",
            "Entries reclaimed from dead instances",
            registry=registry,
        )
        self.lost_leases = Counter(
            "push_kafkastore_leases_lost",
            "Batches shipped after another instance had reclaimed them: their events are in Kafka twice",
            registry=registry,
        )
        self.ship_failures = Counter(
            "push_kafkastore_ship_failures",
            "Attempts to produce that Kafka did not acknowledge; each is retried",
            registry=registry,
        )
        self.enrich_seconds = Histogram(
            "push_kafkastore_enrich_seconds",
            "Time to enrich one batch",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.produce_seconds = Histogram(
            "push_kafkastore_produce_seconds",
            "Time from producing a batch until Kafka has acknowledged all of it",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.batch_events = Histogram(
            "push_kafkastore_batch_events", "Entries in one claim", buckets=BATCH_BUCKETS, registry=registry
        )
        self.geoip_databases = Gauge(
            "push_kafkastore_geoip_databases", "City databases in the settings", registry=registry
        )
        self.geoip_loaded = Gauge(
            "push_kafkastore_geoip_loaded", "1 when a city database is open, else 0", registry=registry
        )
        self.ledger = Gauge(
            "push_ledger_events",
            "The ledger of one Redis, read in one step: accepted = produced + dead + waiting",
            ("redis", "state"),
            registry=registry,
        )
