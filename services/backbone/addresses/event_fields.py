"""The fields of an event in which a client can write its own address."""

from hashlib import blake2b
from typing import Final

import msgspec

from services.backbone.addresses.patterns import LONGEST_READ, OwnAddress
from services.backbone.addresses.spellings import RUN, spelled_numbers
from services.backbone.events import RawEvent, encode_raw

_SHORT: Final = 512  # clients choose the fields, and the cache must stay small
_MOST_FIELDS: Final = 16_384
_ID_DIGEST_BYTES: Final = 16
_UUID_CHARACTERS: Final = 36
_UUID_VERSION_AT: Final = 14


class _NumbersOf(dict[bytes, frozenset[int]]):
    """Caches the numbers that a field may spell, for any address. Only short fields are cached, because they repeat."""

    def __missing__(self, field: bytes) -> frozenset[int]:
        numbers = frozenset(number for found in RUN.finditer(field) if found[1] for number in spelled_numbers(found[1]))
        if len(field) <= _SHORT:
            if len(self) >= _MOST_FIELDS:
                self.clear()
            self[field] = numbers
        return numbers


_numbers_of: Final = _NumbersOf()


def erase_address(event: RawEvent, own: OwnAddress | None, *, exactly: bool = True) -> RawEvent:
    """Return the event without its client's address in the fields that the client chose. The field `address` stays.

    If the id contains the address, a digest of the event replaces the id. Different events keep different ids, and an
    entry that is shipped twice keeps its id. `exactly` is passed to `OwnAddress.erase`: it takes ten times as long.
    """
    if own is None or not _may_be_in(event, own, exactly=exactly):
        return event
    event_id = event.id.encode("utf-8", "replace")
    return msgspec.structs.replace(
        event,
        id=event.id if own.erase(event_id) == event_id else _digest(event),
        host=own.erase(event.host, exactly=exactly),
        path=own.erase(event.path, exactly=exactly),
        query=own.erase(event.query, exactly=exactly),
        user_agent=own.erase(event.user_agent, exactly=exactly),
        referrer=own.erase(event.referrer, exactly=exactly),
    )


def _may_be_in(event: RawEvent, own: OwnAddress, *, exactly: bool) -> bool:
    """Return whether an event may contain the address. kafkastore calls this for every event."""
    for field in (event.path, event.user_agent, event.referrer, event.host):
        if not exactly or len(field) > LONGEST_READ:
            if own.may_be_in(field.decode("latin-1")):
                return True
        elif field and (numbers := _numbers_of[field]) and not own.numbers.isdisjoint(numbers):
            return True
    if event.query and own.may_be_in(event.query.decode("latin-1")):
        return True
    return not _is_uuid7(event.id) and own.may_be_in(event.id)


def _is_uuid7(text: str) -> bool:
    """Return whether an id looks like an id of the tracker, which consists of the time and random bits."""
    return len(text) == _UUID_CHARACTERS and text[_UUID_VERSION_AT] == "7"


def _digest(event: RawEvent) -> str:
    return blake2b(encode_raw(event), digest_size=_ID_DIGEST_BYTES).hexdigest()
