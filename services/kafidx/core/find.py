"""The result of a search for one event: the state of each stage of its path, and a verdict in one sentence.

The stages, in the order in which an event moves: the tracker's spool, the Redis list, the claim of a kafkastore, the
topic `events` or the dead letters, the consumers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from services.backbone.search import SearchedStore, StoredEntry, TrackerReport

StageName = Literal["spool", "redis_list", "claims", "kafka", "dead_letters", "consumers"]
StageState = Literal["found", "not_here", "unknown", "not_searched"]
"""unknown: the system did not respond, or no address is set. not_searched: it was searched only in part."""
VERDICT_STAGES: Final = (*get_args(StageName), "counted", "nowhere", "unknown")
"""The values of `Verdict.stage`."""

MOST_PLACES: Final = 10
"""The most places that a stage lists for one event."""
_TITLES: Final[Mapping[StageName, str]] = {
    "spool": "Tracker's spool",
    "redis_list": "Redis list",
    "claims": "Claimed by kafkastore",
    "kafka": "Kafka",
    "dead_letters": "Dead letters",
    "consumers": "Consumers",
}
_FURTHEST_MS: Final = 1_440 * 60_000
"""How far back `since` reaches. An id of the tracker can begin the search earlier."""
_IN_A_SENTENCE: Final[Mapping[StageName, str]] = {
    "spool": "the tracker's spool",
    "redis_list": "the Redis list",
    "claims": "the claims of kafkastore",
    "kafka": "Kafka",
    "dead_letters": "the dead letters",
    "consumers": "the consumers",
}


class TrackerResult(NamedTuple):
    """The response of one tracker, or why there is none."""

    address: str
    report: TrackerReport | None
    error: str = ""


class RecordPosition(NamedTuple):
    """A record in a topic. The dead letters' fields are empty for an event."""

    partition: int
    offset: int
    time_ms: int
    url: str
    reason: str = ""
    stage: str = ""
    attempt: int | None = None
    decodable: bool = True


class TopicResult(NamedTuple):
    """The result of the search in one topic for one target."""

    found: tuple[RecordPosition, ...] = ()
    """The first records with the id. Without an id, the newest records, the newest first. At most MOST_PLACES."""
    matching: int = 0
    """The number of records that match."""
    records: int = 0
    """The number of searched records."""
    begin_ms: int = 0
    end_ms: int = 0
    """The search covers the records from `begin_ms` to `end_ms`."""
    complete: bool = True
    """False: it ended at a limit of records or time, before the end of the topic."""
    error: str = ""
    """Why the topic could not be asked."""


class ConsumerPositions(NamedTuple):
    """The next offsets that a consumer counts, by partition."""

    name: str
    offsets: Mapping[int, int]


@dataclass(frozen=True)
class Evidence:
    """The responses of all parts of the system for one search."""

    trackers: Sequence[TrackerResult]
    """Empty: no address of a tracker is set (KAFIDX_TRACKERS)."""
    kafka: TopicResult
    dead: TopicResult
    consumers: Sequence[ConsumerPositions] | None
    """The registered consumers. None: the Redis of the counters does not respond."""


@dataclass(frozen=True)
class FoundStage:
    """One stage on the page. The template and the JSON use these names."""

    name: StageName
    title: str
    state: StageState
    text: str
    places: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The conclusion. `stage` is where the event is, and "counted", "nowhere" or "unknown" otherwise."""

    stage: StageName | Literal["counted", "nowhere", "unknown"]
    text: str
    advice: tuple[str, ...] = ()


def judge(evidence: Evidence, target: int) -> tuple[Verdict, tuple[FoundStage, ...]]:
    """Return the verdict and the stages for the target with this index. Pure."""
    stages = (
        _tracker_stage("spool", evidence, target),
        _tracker_stage("redis_list", evidence, target),
        _tracker_stage("claims", evidence, target),
        _topic_stage("kafka", evidence.kafka),
        _topic_stage("dead_letters", evidence.dead),
        _consumer_stage(evidence),
    )
    return _verdict(evidence, target, {stage.name: stage for stage in stages}), stages


# Stages ---------------------------------------------------------------------------------------------------------------


def _entries(evidence: Evidence, name: StageName, target: int) -> Iterator[tuple[str, TrackerReport, StoredEntry]]:
    for tracker in evidence.trackers:
        searched = None if tracker.report is None else _searched(tracker.report, name)
        if tracker.report is not None and searched is not None:
            for entry in searched.found:
                if entry.target == target:
                    yield tracker.address, tracker.report, entry


def _searched(report: TrackerReport, name: StageName) -> SearchedStore | None:
    return {"spool": report.spool, "redis_list": report.waiting, "claims": report.claims}[name]


def _tracker_stage(name: StageName, evidence: Evidence, target: int) -> FoundStage:
    found = tuple(_entries(evidence, name, target))
    places = tuple(
        {"tracker": address, "pod": report.pod, **_fields(entry)} for address, report, entry in found[:MOST_PLACES]
    )
    if not evidence.trackers:
        return _stage(name, "unknown", "kafidx knows no tracker: KAFIDX_TRACKERS is not set.")
    text = " ".join(_tracker_texts(name, evidence))
    if found:
        return _stage(name, "found", text, places)
    if any(tracker.report is None or _is_away(tracker.report, name) for tracker in evidence.trackers):
        return _stage(name, "unknown", text)
    searched = [_searched(tracker.report, name) for tracker in evidence.trackers if tracker.report is not None]
    partly = any(store is not None and store.error for store in searched)
    return _stage(name, "not_searched" if partly else "not_here", text)


def _is_away(report: TrackerReport, name: StageName) -> bool:
    searched = _searched(report, name)
    return searched is not None and searched.error != "" and searched.searched == 0


def _tracker_texts(name: StageName, evidence: Evidence) -> Iterator[str]:
    for tracker in evidence.trackers:
        if tracker.report is None:
            yield f"{tracker.address}: {tracker.error}."
            continue
        searched = _searched(tracker.report, name)
        if searched is None:
            yield f"{tracker.address}: has no spool."
            continue
        text = f"{tracker.address}: searched {searched.searched:,} of {searched.entries:,} entries"
        yield f"{text}, {searched.error}." if searched.error else f"{text}."


def _fields(entry: StoredEntry) -> dict[str, Any]:
    fields: dict[str, Any] = {"before": entry.before, "decodable": entry.decodable}
    if entry.segment:
        fields["segment"] = entry.segment
    if entry.instance:
        fields |= {"instance": entry.instance, "claimed_ms_ago": entry.claimed_ms_ago, "lease_ms": entry.lease_ms}
    return fields


def _topic_stage(name: StageName, result: TopicResult) -> FoundStage:
    if result.error:
        return _stage(name, "unknown", f"Kafka: {result.error}.")
    places = tuple(position._asdict() for position in result.found)
    text = f"Searched {result.records:,} records from {_time(result.begin_ms)} to {_time(result.end_ms)}"
    text += "." if result.complete else ", not further."
    if result.matching > len(result.found):
        text += f" {result.matching:,} match; {len(result.found)} of them are listed."
    if result.found:
        return _stage(name, "found", text, places)
    return _stage(name, "not_here" if result.complete else "not_searched", text)


def _consumer_stage(evidence: Evidence) -> FoundStage:
    if evidence.consumers is None:
        return _stage("consumers", "unknown", "The Redis of the counters does not respond.")
    if not evidence.kafka.found:
        return _stage("consumers", "not_here", "Consumers count records of Kafka, and none was found.")
    if not evidence.consumers:
        return _stage("consumers", "not_here", "No consumer is registered.")
    first = evidence.kafka.found[0]
    places = tuple(_consumer_place(consumer, first) for consumer in evidence.consumers)
    handled = sum(place["state"] == "handled" for place in places)
    text = f"{handled} of {len(places)} have handled it: counted, or dropped as a duplicate."
    return _stage("consumers", "found" if handled else "not_here", text, places)


def _consumer_place(consumer: ConsumerPositions, record: RecordPosition) -> dict[str, Any]:
    next_offset = consumer.offsets.get(record.partition)
    if next_offset is not None and next_offset > record.offset:
        return {"consumer": consumer.name, "state": "handled", "before": 0}
    before = None if next_offset is None else record.offset - next_offset
    return {"consumer": consumer.name, "state": "waiting", "before": before}


def _stage(name: StageName, state: StageState, text: str, places: tuple[dict[str, Any], ...] = ()) -> FoundStage:
    return FoundStage(name, _TITLES[name], state, text, places)


# The verdict --------------------------------------------------------------------------------------------------------


def _verdict(evidence: Evidence, target: int, stages: Mapping[StageName, FoundStage]) -> Verdict:
    """Return the verdict about the stage that is furthest on the path. Earlier duplicates only show in their stages."""
    away = _away(evidence, stages)
    if evidence.kafka.found:
        return _in_kafka(evidence, stages["consumers"])
    if evidence.dead.found:
        letter = evidence.dead.found[0]
        attempt = "" if letter.attempt is None else f", attempt {letter.attempt}"
        reason = letter.reason or "without a reason"
        return Verdict("dead_letters", f"A dead letter: {reason} (stage {letter.stage or 'unknown'}{attempt}).{away}")
    for name in ("claims", "redis_list", "spool"):
        for _, report, entry in _entries(evidence, name, target):
            return Verdict(name, _BEFORE_KAFKA[name](report, entry) + away)
    return _not_found(evidence, stages, away)


def _in_kafka(evidence: Evidence, consumers: FoundStage) -> Verdict:
    first, count = evidence.kafka.found[0], evidence.kafka.matching
    text = f"In Kafka, partition {first.partition}, offset {first.offset}"
    more = f" {count:,} records of Kafka match; this is one of them." if count > 1 else ""
    if evidence.consumers is None:
        return Verdict("kafka", f"{text}. The Redis of the counters does not respond.{more}")
    if not consumers.places:
        return Verdict("kafka", f"{text}. No consumer is registered.{more}")
    waiting = [place for place in consumers.places if place["state"] == "waiting"]
    if not waiting:
        everyone = "the only consumer" if len(consumers.places) == 1 else f"all {len(consumers.places)} consumers"
        return Verdict("counted", f"Counted by {everyone}. {text}.{more}")
    missing = ", ".join(f"{place['consumer']} ({_backlog(place['before'])})" for place in waiting)
    return Verdict("kafka", f"{text}; not counted yet by {missing}.{more}")


def _claimed(_report: TrackerReport, entry: StoredEntry) -> str:
    age = "" if entry.claimed_ms_ago is None else f" {_seconds(entry.claimed_ms_ago)} ago"
    text = f"Claimed by kafkastore {entry.instance or 'unknown'}{age}."
    if entry.lease_ms is not None and entry.lease_ms < 0:
        text += f" The lease ended {_seconds(-entry.lease_ms)} ago: the next kafkastore reclaims it."
    return text


def _in_list(_report: TrackerReport, entry: StoredEntry) -> str:
    return f"Waits in Redis, {_before(entry.before)}."


def _in_spool(report: TrackerReport, entry: StoredEntry) -> str:
    if report.redis_error:
        return f"In the tracker's spool: Redis does not take events ({report.redis_error})."
    return f"In the tracker's spool, {_before(entry.before)}: Redis takes events again, and the spool follows."


_BEFORE_KAFKA: Final = {"claims": _claimed, "redis_list": _in_list, "spool": _in_spool}


def _not_found(evidence: Evidence, stages: Mapping[StageName, FoundStage], away: str) -> Verdict:
    partly = [stage.name for stage in stages.values() if stage.state == "not_searched"]
    here = [stage.name for stage in stages.values() if stage.state == "not_here" and stage.name != "consumers"]
    text = f"Not found in {_listed(here, 'or')}." if here else "Not found."
    if partly:
        text += f" Searched only in part: {_listed(partly, 'and')}."
    advice = ["Check the id, and that the tracker responded 2xx: another status means that it did not store the event."]
    if not evidence.kafka.error:
        searched = f"Kafka was searched from {_time(evidence.kafka.begin_ms)} on."
        since_helps = evidence.kafka.end_ms - evidence.kafka.begin_ms < _FURTHEST_MS
        more = " For an older event, set since: up to 1,440 minutes ago." if since_helps else ""
        advice.append(searched + more)
    if not evidence.trackers:
        advice.insert(0, "Set KAFIDX_TRACKERS, so that kafidx can ask the trackers.")
    elif away:
        advice.insert(0, "Search again when all parts respond.")
    return Verdict("unknown" if away or partly else "nowhere", text + away, tuple(advice))


def _listed(names: Sequence[StageName], word: str) -> str:
    """Return the stages for a sentence: "Kafka", "Kafka or the dead letters"."""
    *most, last = (_IN_A_SENTENCE[name] for name in names)
    return f"{', '.join(most)} {word} {last}" if most else last


def _away(evidence: Evidence, stages: Mapping[StageName, FoundStage]) -> str:
    """Return a sentence with all parts that could not be asked, or an empty text."""
    away: list[str] = []
    if not evidence.trackers:
        away.append("the stages before Kafka (KAFIDX_TRACKERS is not set)")
    for tracker in evidence.trackers:
        if tracker.report is None:
            away.append(f"the tracker {tracker.address} ({tracker.error})")
            continue
        if _is_away(tracker.report, "spool"):
            away.append(f"the spool of the tracker {tracker.address}")
        if _is_away(tracker.report, "redis_list") or _is_away(tracker.report, "claims"):
            away.append(f"the Redis of the tracker {tracker.address}")
    if evidence.kafka.error:
        away.append(f"Kafka ({evidence.kafka.error})")
    elif evidence.dead.error:
        away.append(f"the dead letters ({evidence.dead.error})")
    if stages["consumers"].state == "unknown":
        away.append("the Redis of the counters")
    return f" Could not be asked: {', '.join(away)}." if away else ""


def _before(count: int) -> str:
    return "no entry before it" if count == 0 else f"{count:,} {'entry' if count == 1 else 'entries'} before it"


def _backlog(events: int | None) -> str:
    if events is None:
        return "no position yet"
    return "no event before it" if events == 0 else f"{events:,} {'event' if events == 1 else 'events'} before it"


def _seconds(ms: int) -> str:
    return f"{max(0, ms) / 1000:.0f} s"


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def as_json(verdict: Verdict, stages: Sequence[FoundStage]) -> dict[str, Any]:
    """Return the verdict and the stages for the JSON and the template."""
    return {"verdict": asdict(verdict), "stages": [asdict(stage) for stage in stages]}
