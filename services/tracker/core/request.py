"""One request, and what all events in it share: the sender, the time, the id, the choice of answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from services.backbone.addresses import erase_address, own_address
from services.backbone.events import RawEvent
from services.tracker.core.address import Network, client_address
from services.tracker.core.batch import Entry
from services.tracker.core.bodies import join_queries
from services.tracker.core.privacy import without_context, without_parameters

_LONGEST_ID: Final = 128
_LONGEST_ACCEPT: Final = 512  # browsers send some 150 bytes; the cache of answers must not hold attackers' novels
_NEW_ID_NOTE: Final = f"id replaced: it must have 1 to {_LONGEST_ID} printable characters"

_ENCODED_QUERY: Final = re.compile(rb"%3[Ff]|%23")

HeaderList = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what an event keeps."""

    trusted: tuple[Network, ...] = ()
    honour_opt_out: bool = True
    person_parameters: frozenset[bytes] = frozenset()
    """In lower case."""
    pod: str = ""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request as it came, free of any framework."""

    path: bytes
    """Not decoded."""
    query: bytes
    headers: HeaderList
    """Names in lower case, in the order of their lines."""
    peer: str | None
    received_at_ms: int


class Sender(msgspec.Struct, frozen=True, gc=False):
    """What all events of one request share."""

    address: str
    host: bytes
    user_agent: bytes
    referrer: bytes
    opted_out: bool
    erased_address: str = ""
    """The address of a visitor who opted out: for erasing it, never kept."""


def header_fields(headers: HeaderList) -> dict[bytes, bytes]:
    """Return the headers by name; of repeated ones the first."""
    return dict(reversed(headers))


def sender_of(request: Request, fields: Mapping[bytes, bytes], rules: Rules) -> Sender:
    """Return who sent a request. Of a visitor who opted out neither address nor user agent is kept.

    Opting out: Sec-GPC: 1 (Global Privacy Control) or DNT: 1 (Tracking Preference Expression).
    """
    host = fields.get(b"host", b"")
    referrer = fields.get(b"referer", b"")
    address = client_address(request.peer, request.headers, rules.trusted)
    if rules.honour_opt_out and (fields.get(b"sec-gpc") == b"1" or fields.get(b"dnt") == b"1"):
        # The referrer's own parameters may name the person as well as ours do.
        return Sender("", host, b"", _without_query(referrer), opted_out=True, erased_address=address)
    return Sender(address, host, fields.get(b"user-agent", b""), referrer, opted_out=False)


def event_of_request(
    request: Request, fields: Mapping[bytes, bytes], rules: Rules, *, new_id: str, body_params: bytes = b""
) -> RawEvent:
    """Make the one event of a GET, HEAD or POST; its id is the Idempotency-Key when that is a valid id."""
    sender = sender_of(request, fields, rules)
    query = join_queries(request.query, body_params) if body_params else request.query
    event = RawEvent(
        id=client_id(fields.get(b"idempotency-key", b"").decode("utf-8", "replace")) or new_id,
        received_at_ms=request.received_at_ms,
        address=sender.address,
        host=sender.host,
        pod=rules.pod,
        path=request.path,
        query=without_context(query),
        user_agent=sender.user_agent,
        referrer=sender.referrer,
        opted_out=sender.opted_out,
    )
    return _without_person(event, sender, rules) if sender.opted_out else event


def event_of_batch_entry(
    entry: Entry, sender: Sender, rules: Rules, *, received_at_ms: int, new_id: str
) -> tuple[RawEvent, tuple[str, ...]]:
    """Make the event of one entry of a batch; also returns the notes on what was passed over."""
    event_id = None if entry.id is None else client_id(entry.id)
    notes = entry.notes if entry.id is None or event_id else (*entry.notes, _NEW_ID_NOTE)
    event = RawEvent(
        id=event_id or new_id,
        received_at_ms=received_at_ms,
        address=sender.address,
        host=sender.host,
        pod=rules.pod,
        path=entry.path,
        query=without_context(entry.query),
        user_agent=sender.user_agent,
        referrer=sender.referrer,
        opted_out=sender.opted_out,
        client_time_ms=entry.client_time_ms,
    )
    return (_without_person(event, sender, rules) if sender.opted_out else event), notes


def _without_person(event: RawEvent, sender: Sender, rules: Rules) -> RawEvent:
    """Return the event of a visitor who opted out: without person parameters, and without its address in any field."""
    stripped = msgspec.structs.replace(
        event,
        path=_ENCODED_QUERY.split(event.path, 1)[0],
        query=without_parameters(event.query, rules.person_parameters),
    )
    return erase_address(stripped, own_address(sender.erased_address))


def _without_query(address: bytes) -> bytes:
    return address.partition(b"#")[0].partition(b"?")[0]


def client_id(text: str) -> str | None:
    """Return an id that a client gave, without the quotes of a structured header; None when it can't be one.

    A bad id never costs the event: it gets a new one.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text if 0 < len(text) <= _LONGEST_ID and text.isprintable() and "\ufffd" not in text else None


def wants_image(path: bytes, accept: bytes) -> bool:
    """Tell whether a request asks for an image: by its suffix (.gif, .png) or by preferring image/* over all else."""
    if path[-4:].lower() in (b".gif", b".png"):
        return True
    return bool(accept) and _prefers_image(accept[:_LONGEST_ACCEPT])


@lru_cache(maxsize=1024)
def _prefers_image(accept: bytes) -> bool:
    """Compare the best image type with the best other type by quality (RFC 9110, 12.5.1), then by order."""
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
