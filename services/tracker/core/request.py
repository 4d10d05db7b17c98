"""Turn a request or a batch entry into a RawEvent: sender, time, id, opt-out; choose between image and JSON."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from services.backbone.addresses import erase_address, own_address
from services.backbone.bodies import join_queries
from services.backbone.events import LONGEST_ID, RawEvent, client_id
from services.tracker.core.address import Network, client_address
from services.tracker.core.batch import Entry
from services.tracker.core.privacy import CONTEXT, Budget, without_context, without_parameters

_LONGEST_ACCEPT: Final = 512  # browsers send some 150 bytes; this bounds the memory of the cache below
_NEW_ID_NOTE: Final = f"id replaced: it must have 1 to {LONGEST_ID} printable characters"

_LONG_BYTES: Final = 8_192  # the slowest event of this size takes some 20 ms
_ENCODED_QUERY: Final = re.compile(rb"%3[Ff]|%23")

HeaderList = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that determine the content of an event."""

    trusted: tuple[Network, ...] = ()
    honour_opt_out: bool = True
    person_parameters: frozenset[bytes] = frozenset()
    """In lower case."""
    pod: str = ""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A received request, independent of any framework."""

    path: bytes
    """Not percent-decoded."""
    query: bytes
    headers: HeaderList
    """In the order of the request; names in lower case."""
    peer: str | None
    received_at_ms: int


class Sender(msgspec.Struct, frozen=True, gc=False):
    """The fields that all events of one request share."""

    address: str
    host: bytes
    user_agent: bytes
    referrer: bytes
    opted_out: bool
    erased_address: str = ""
    """The address of a visitor who opted out. It is used to find and erase the address, and is not stored."""


def header_fields(headers: HeaderList) -> dict[bytes, bytes]:
    """Return the headers by name; for a repeated header the first value."""
    return dict(reversed(headers))


def is_long(target_bytes: int, fields: Mapping[bytes, bytes]) -> bool:
    """Return whether the event of a request must be built beside the event loop.

    The time to clean an event grows with its target and with the headers that an opt-out cleans.
    """
    return target_bytes + len(fields.get(b"referer", b"")) + len(fields.get(b"host", b"")) > _LONG_BYTES


def sender_of(request: Request, fields: Mapping[bytes, bytes], rules: Rules) -> Sender:
    """Return the sender of a request. The sender of a visitor who opted out has no address and no user agent.

    A visitor opts out by Sec-GPC: 1 (Global Privacy Control) or DNT: 1 (Tracking Preference Expression). When a header
    is repeated, one such value is enough: a proxy may have added the other one.
    """
    host = fields.get(b"host", b"")
    referrer = fields.get(b"referer", b"")
    address = client_address(request.peer, request.headers, rules.trusted)
    if (b"sec-gpc" in fields or b"dnt" in fields) and rules.honour_opt_out and _has_opt_out(request.headers):
        # The referrer's parameters may contain personal data.
        return Sender("", host, b"", _without_query(referrer), opted_out=True, erased_address=address)
    return Sender(address, host, fields.get(b"user-agent", b""), referrer, opted_out=False)


def _has_opt_out(headers: HeaderList) -> bool:
    """Return whether one of the opt-out headers has the value 1, alone or in a list (RFC 9110, 5.3)."""
    return any(
        name in (b"sec-gpc", b"dnt") and b"1" in (item.strip() for item in value.split(b",")) for name, value in headers
    )


def event_of_request(
    request: Request, fields: Mapping[bytes, bytes], rules: Rules, *, new_id: str, body_params: bytes = b""
) -> RawEvent:
    """Build the event of a GET, HEAD or POST. Its id is the Idempotency-Key if that is valid, else `new_id`.

    Raises TooLarge when the query takes too much work to clean.
    """
    sender = sender_of(request, fields, rules)
    query = join_queries(request.query, body_params) if body_params else request.query
    event = RawEvent(
        id=client_id(fields.get(b"idempotency-key", b"").decode("utf-8", "replace")) or new_id,
        received_at_ms=request.received_at_ms,
        address=sender.address,
        host=sender.host,
        pod=rules.pod,
        path=request.path,
        query=query if sender.opted_out else without_context(query),
        user_agent=sender.user_agent,
        referrer=sender.referrer,
        opted_out=sender.opted_out,
    )
    return _without_person(event, sender, rules) if sender.opted_out else event


def event_of_batch_entry(  # noqa: PLR0913 - an entry and what it shares with the others
    entry: Entry, sender: Sender, rules: Rules, *, received_at_ms: int, new_id: str, budget: Budget | None = None
) -> tuple[RawEvent, tuple[str, ...]]:
    """Build the event of one batch entry; also return the notes on ignored members.

    The entries of a batch share `budget`. Raises TooLarge when the entry takes too much work to clean.
    """
    event_id = None if entry.id is None else client_id(entry.id)
    notes = entry.notes if entry.id is None or event_id else (*entry.notes, _NEW_ID_NOTE)
    event = RawEvent(
        id=event_id or new_id,
        received_at_ms=received_at_ms,
        address=sender.address,
        host=sender.host,
        pod=rules.pod,
        path=entry.path,
        query=entry.query if sender.opted_out else without_context(entry.query, budget),
        user_agent=sender.user_agent,
        referrer=sender.referrer,
        opted_out=sender.opted_out,
        client_time_ms=entry.client_time_ms,
    )
    return (_without_person(event, sender, rules, budget) if sender.opted_out else event), notes


def _without_person(event: RawEvent, sender: Sender, rules: Rules, budget: Budget | None = None) -> RawEvent:
    """Remove `context`, the person parameters and the visitor's address from every field of an event."""
    budget = budget or Budget()
    stripped = msgspec.structs.replace(
        event,
        path=_ENCODED_QUERY.split(event.path, 1)[0],
        query=without_parameters(event.query, rules.person_parameters | CONTEXT, budget),
    )
    size = len(event.path) + len(event.query) + len(event.host) + len(event.referrer)
    return erase_address(stripped, own_address(sender.erased_address), exactly=budget.may_read_exactly(size))


def _without_query(address: bytes) -> bytes:
    return address.partition(b"#")[0].partition(b"?")[0]


def wants_image(path: bytes, accept: bytes) -> bool:
    """Return whether the response is an image: the path ends in .gif or .png, or Accept prefers image/*."""
    if path[-4:].lower() in (b".gif", b".png"):
        return True
    return bool(accept) and _prefers_image(accept[:_LONGEST_ACCEPT])


@lru_cache(maxsize=1024)
def _prefers_image(accept: bytes) -> bool:
    """Compare the best image type with the best other type, by quality (RFC 9110, 12.5.1) and then by order."""
    best = {True: 0.0, False: 0.0}
    first = None
    for item in accept.lower().split(b","):
        media_type, *options = (part.strip() for part in item.split(b";"))
        is_image = media_type.startswith(b"image/")
        quality = _quality(options)
        if media_type and quality > max(best.values()):
            first = is_image
        best[is_image] = max(best[is_image], quality)
    return best[True] > best[False] or (best[True] == best[False] > 0 and first is True)


def _quality(options: Sequence[bytes]) -> float:
    for option in options:
        name, _, value = option.partition(b"=")
        if name.strip() == b"q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
