"""The search for single events, and its wire format between kafidx and the trackers. Pure: no I/O, no clock.

kafidx sends the targets as the query of `GET /find` to the internal port of each tracker. The response is a
TrackerReport as JSON.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import msgspec

from services.backbone import names
from services.backbone.events import (
    LONGEST_ID,
    META_ID,
    InvalidEvent,
    client_id,
    decode_raw,
    encode_params,
    encode_type,
    meta_value,
    split_event,
    type_of_path,
)

MOST_TARGETS: Final = 20
"""The most targets of one search."""
ID_RULE: Final = f"an id has 1 to {LONGEST_ID} printable characters, such as 0197d2a4-7b1c-7e55-b1a0-3f2c9d1e8a77"


class InvalidSearch(ValueError):
    """The targets of a search are missing or invalid. The message states what is allowed."""


class Target(msgspec.Struct, frozen=True):
    """An event to search for: by its id, or without an id by its type and its parameters."""

    id: str = ""
    type: str = ""
    params: str = ""
    """The third field of the record in Kafka (`encode_params`). Empty: an event without parameters."""


class EntryMatch(NamedTuple):
    """The targets that a queue entry matches, by their indexes."""

    targets: tuple[int, ...] = ()
    decodable: bool = True
    """False: the entry cannot be decoded, and its bytes contain the id."""


_NO_MATCH: Final = EntryMatch()


class TargetMatcher:
    """Compares entries and records with the targets. The time for one entry does not grow with the targets' sizes."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._ids = {target.id.encode(): at for at, target in enumerate(targets) if target.id}
        self._contents = {
            (encode_type(target.type).encode(), (target.params or "-").encode()): at
            for at, target in enumerate(targets)
            if not target.id
        }

    def match_entry(self, entry: bytes) -> EntryMatch:
        """Return the targets of a queue entry. An undecodable entry matches an id that its bytes contain."""
        contained = tuple(at for id_, at in self._ids.items() if id_ in entry)
        # The search for bytes takes a tenth of the time of decoding.
        if not contained and not self._contents:
            return _NO_MATCH
        try:
            raw = decode_raw(entry)
        except InvalidEvent:
            return EntryMatch(contained, decodable=False)
        by_id = self._ids.get(raw.id.encode())
        by_content = None
        if self._contents:
            content = encode_type(type_of_path(raw.path)), encode_params(raw.query) or "-"
            by_content = self._contents.get((content[0].encode(), content[1].encode()))
        return EntryMatch(tuple(at for at in (by_id, by_content) if at is not None))

    def match_record(self, value: bytes, headers: Iterable[tuple[str, bytes]]) -> tuple[int, ...]:
        """Return the targets of a record of the topic `events`. The id in its header counts before that in meta."""
        found = []
        if self._ids and (by_id := self._ids.get(_id_of(value, headers))) is not None:
            found.append(by_id)
        if self._contents:
            by_content = self._contents.get((value.partition(b" ")[0], value.rpartition(b" ")[2]))
            if by_content is not None:
                found.append(by_content)
        return tuple(found)


def _id_of(value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    for name, id_ in headers:
        if name == names.HEADER_EVENT_ID and id_:
            return id_
    try:
        encoded = meta_value(split_event(value).meta, META_ID) or b""
    except InvalidEvent:
        return b""
    return unquote_to_bytes(encoded.replace(b"+", b" "))


# The request: the query of GET /find -----------------------------------------------------------------------------


def encode_targets(targets: Sequence[Target]) -> str:
    """Encode targets as a query: `id=`, or `type=` and `params=`, for each target."""
    return urlencode(
        [
            pair
            for target in targets
            for pair in ([("id", target.id)] if target.id else [("type", target.type), ("params", target.params)])
        ]
    )


def decode_targets(query: str) -> list[Target]:
    """Decode the targets of a query. `params` belongs to the `type` before it. Raises InvalidSearch."""
    targets: list[Target] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "id":
            if client_id(value) != value:
                raise InvalidSearch(f"id: invalid value with {len(value)} characters: {ID_RULE}")
            targets.append(Target(id=value))
        elif name == "type":
            if not value:
                raise InvalidSearch("type: empty. Send the type of the event, such as type=view")
            targets.append(Target(type=value))
        elif name == "params" and targets and targets[-1].type and not targets[-1].params:
            if not value.isascii():
                raise InvalidSearch("params: percent-encode all bytes outside printable ASCII")
            targets[-1] = msgspec.structs.replace(targets[-1], params="" if value == "-" else value)
        else:
            raise InvalidSearch(f"{name[:40]!r}: not expected here. Send id=..., or type=...&params=...")
    if not 0 < len(targets) <= MOST_TARGETS:
        raise InvalidSearch(f"{len(targets)} targets. Send 1 to {MOST_TARGETS}: id=..., or type=...&params=...")
    return targets


# The response -------------------------------------------------------------------------------------------------------


class StoredEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry in a tracker's spool or Redis that matches a target."""

    target: int
    """The index of the target."""
    before: int = 0
    """The number of entries that leave before this one: in the spool, in the list, or in its claim."""
    decodable: bool = True
    segment: str = ""
    """The file of the spool that contains it."""
    instance: str = ""
    """The kafkastore instance that has claimed it."""
    claimed_ms_ago: int | None = None
    """Age of the claim by the clocks of kafkastore and Redis."""
    lease_ms: int | None = None
    """Time until the claim expires; negative after that. Then the next kafkastore reclaims the entry."""


class SearchedStore(msgspec.Struct, frozen=True):
    """The result of the search in one place of a tracker."""

    entries: int = 0
    """The number of entries that are there."""
    searched: int = 0
    found: list[StoredEntry] = []
    error: str = ""
    """Why the search was not possible or ended early. Empty: all entries were searched."""


class TrackerReport(msgspec.Struct, frozen=True):
    """The response of one tracker. It searches spool, list and claims in this order, in which events move."""

    pod: str
    """The tracker's own address, as in its events."""
    redis_error: str
    """Why new events go to the spool. Empty while Redis confirms pushes."""
    ledger: dict[str, int] | None
    """The ledger of its Redis (`backbone.queue.Ledger`). None: Redis does not respond."""
    spool: SearchedStore | None
    """None: the tracker has no spool."""
    waiting: SearchedStore
    """The Redis list."""
    claims: SearchedStore


def encode_report(report: TrackerReport) -> bytes:
    """Encode the response as JSON."""
    return msgspec.json.encode(report)


def decode_report(body: bytes) -> TrackerReport:
    """Decode the response. Raises ValueError."""
    return msgspec.json.decode(body, type=TrackerReport)
