"""Read the topics and /metrics, to verify that no acknowledged event is lost and that the ledger balances."""

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from services.backbone import names
from services.backbone.events import InvalidEvent, decode_raw
from services.backbone.kafka import TopicReader
from services.backbone.settings import KafkaSettings

_POLL_S = 1.0
LEDGER_METRIC = "push_ledger_events"
SPOOL_METRIC = "push_tracker_spool_events"


class SystemLedger(NamedTuple):
    """The ledger of the whole system, from /metrics."""

    accepted: int
    """Events that Redis accepted or trackers keep on disk."""
    produced: int
    dead: int
    waiting: int
    """Events in the list, in claims and in spools."""

    @property
    def unaccounted(self) -> int:
        """Events that the ledger can't explain. A value other than 0 is a bug."""
        return self.accepted - self.produced - self.dead - self.waiting


def samples(text: str, metric: str) -> list[tuple[Mapping[str, str], float]]:
    """Return labels and value of each sample of a gauge in Prometheus' text format."""
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric
    ]


def parse_ledger(kafkastore: str, trackers: Iterable[str]) -> SystemLedger | None:
    """Sum up the ledger from the /metrics of one kafkastore and of all trackers.

    The kafkastore must drain all Redis servers. Return None when it could not read one of them.
    """
    sums: Counter[str] = Counter()
    for labels, value in samples(kafkastore, LEDGER_METRIC):
        sums[labels["state"]] += int(value)
    if not sums:
        return None
    spooled = sum(int(value) for text in trackers for _, value in samples(text, SPOOL_METRIC))
    waiting = sums["waiting"] + spooled
    return SystemLedger(sums["accepted"] + spooled, sums["produced"], sums["dead"], waiting)


class Contents(NamedTuple):
    """The contents of the topic of events and of the topic of dead letters."""

    records: Counter[str]
    """Records in the topic of events, by event id."""
    dead: Counter[str]
    """Dead letters by event id. The id is empty when the entry can't be decoded."""
    without_reason: int
    """Dead letters without a reason."""

    @property
    def duplicates(self) -> int:
        """Records beyond the first of each id."""
        return self.records.total() - len(self.records)


async def read_topics(bootstrap_servers: str) -> Contents:
    """Read both topics from their beginning to their current end. Raises KafkaUnavailable."""
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers})
    records: Counter[str] = Counter()
    for headers, _ in await _read(settings, names.EVENTS_TOPIC):
        records[headers.get(names.HEADER_EVENT_ID, b"").decode()] += 1
    dead: Counter[str] = Counter()
    without_reason = 0
    for headers, value in await _read(settings, names.DEAD_LETTER_TOPIC):
        dead[_id_of(value)] += 1
        without_reason += not headers.get(names.HEADER_DEAD_REASON)
    return Contents(records, dead, without_reason)


def lost(acknowledged: AbstractSet[str], contents: Contents) -> set[str]:
    """Return the acknowledged ids that are neither in the topic of events nor in the dead letters."""
    return acknowledged - contents.records.keys() - contents.dead.keys()


async def _read(settings: KafkaSettings, topic: str) -> list[tuple[dict[str, bytes], bytes]]:
    found: list[tuple[dict[str, bytes], bytes]] = []
    async with TopicReader(settings, topic) as reader:
        end_offsets = await reader.end_offsets()
        reader.seek(await reader.beginning_offsets())
        while any(reader.positions()[partition] < end for partition, end in end_offsets.items()):
            for read in (await reader.poll(wait_s=_POLL_S)).values():
                found += [(dict(record.headers), record.value or b"") for record in read.records]
    return found


def _id_of(entry: bytes) -> str:
    try:
        return decode_raw(entry).id
    except InvalidEvent:
        return ""
