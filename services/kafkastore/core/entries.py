"""What becomes of an entry of the queue: a message for Kafka, or a dead letter."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from services.backbone import names
from services.backbone.addresses import erase_address, own_address
from services.backbone.dead_letters import DeadLetter
from services.backbone.erasure import device_of, is_erased
from services.backbone.events import (
    EVENT_FORMAT_VERSION,
    Device,
    Event,
    InvalidEvent,
    Location,
    RawEvent,
    Record,
    decode_raw,
    encode_event,
    encode_params,
    encode_raw,
    type_of_path,
)
from services.kafkastore.core.addresses import hex_address, mask_lookalikes, mask_text, mask_undecodable
from services.kafkastore.settings import IpMode

Stage = Literal["decode", "enrich", "encode", "produce"]
"""Where an entry failed."""

Locate = Callable[[str], Location]
Classify = Callable[[bytes], Device]

_LONGEST_KEY: Final = 256  # a key is kept in caches; what a real device calls itself is far shorter
_LONGEST_REASON: Final = 200
_LAST_TIME_MS: Final = 2**53  # beyond it not every reader of the topic can hold the number


class FailedEntry(NamedTuple):
    """An entry that will never be an event, with where and why it failed."""

    entry: bytes
    stage: Stage
    reason: str


def prepare(  # noqa: PLR0913 - what an event is made of, each by its name
    entry: bytes,
    *,
    now_ms: int,
    ip_mode: IpMode,
    locate: Locate,
    classify: Classify,
    erased: frozenset[bytes] = frozenset(),
) -> Record | FailedEntry | None:
    """Turn an entry into the message that is to be written, at the time `now_ms`. Never raises.

    None when its device is one of the `forgotten` (their digests): then nothing of it is to be written anywhere.
    """
    stage: Stage = "decode"
    try:
        raw = decode_raw(entry)
        stage = "enrich"
        if is_erased(raw, erased):
            return None
        if ip_mode != "full":
            raw = erase_address(raw, own_address(raw.address))
        event = enrich(raw, locate(raw.address), classify(raw.user_agent), now_ms=now_ms, ip_mode=ip_mode)
        stage = "encode"
        return encode(event, now_ms=now_ms)
    except Exception as error:  # noqa: BLE001 - an entry that stops the process would stop it again after each restart
        kind = "" if isinstance(error, InvalidEvent) else f"{type(error).__name__}: "
        return FailedEntry(entry, stage, _masked_reason(f"{kind}{error}", ip_mode)[:_LONGEST_REASON])


def enrich(raw: RawEvent, location: Location, device: Device, *, now_ms: int, ip_mode: IpMode) -> Event:
    """Put together what the tracker saw and what the lookups say. Raises InvalidEvent.

    Text that is not UTF-8 is kept as far as it can be read (U+FFFD for the rest).
    """
    if not 0 <= raw.received_at_ms < _LAST_TIME_MS:
        raise InvalidEvent("time of receipt is out of range")
    return Event(
        type=type_of_path(raw.path),
        id=raw.id,
        received_at_ms=raw.received_at_ms,
        # Two machines' clocks may differ by more than an event waited.
        queue_delay_ms=max(0, now_ms - raw.received_at_ms),
        host=raw.host.decode("utf-8", "replace"),
        pod=raw.pod,
        address=hex_address(raw.address, ip_mode),
        location=location,
        device=device,
        referrer=raw.referrer.decode("utf-8", "replace"),
        client_time_ms=raw.client_time_ms,
        opted_out=raw.opted_out,
        params=encode_params(raw.query),
    )


def encode(event: Event, *, now_ms: int) -> Record:
    """Encode an event as a record: value, key, headers, timestamp."""
    return Record(
        encode_event(event),
        partition_key(event),
        ((names.HEADER_EVENT_ID, event.id.encode()), (names.HEADER_FORMAT_VERSION, EVENT_FORMAT_VERSION)),
        # A broker refuses the whole batch for one timestamp of the future: a tracker's clock that is fast must not
        # stop everybody. The value keeps what the tracker said.
        min(event.received_at_ms, now_ms),
    )


def partition_key(event: Event) -> bytes | None:
    """Choose the key: events of one device (parameter `di`), else of one address, keep their order in a partition.

    A device id is cut to 256 bytes. None when there is neither.
    """
    device_id = device_of(event.params)
    if device_id is not None:
        return device_id.encode()[:_LONGEST_KEY]
    return event.address.encode() or None


def dead_value(entry: bytes, ip_mode: IpMode) -> bytes:
    """Return what a dead letter keeps: the entry, with no more of its client's address than IP_MODE allows.

    An entry that can be decoded stays an entry, so it can be replayed. In one that can't, every text that looks like an
    address is masked, together with the other spellings of that address; its length stays.
    """
    if ip_mode == "full":
        return entry
    try:
        raw = decode_raw(entry)
    except InvalidEvent:
        return mask_undecodable(entry, ip_mode)
    erased = erase_address(raw, own_address(raw.address))
    return encode_raw(msgspec.structs.replace(erased, address=mask_text(raw.address, ip_mode)))


def id_of(entry: bytes, ip_mode: IpMode) -> str:
    """Return an entry's event id for a log, without what looks like an address; empty when it can't be read."""
    try:
        raw = decode_raw(entry)
    except InvalidEvent:
        return ""
    event_id = raw.id if ip_mode == "full" else erase_address(raw, own_address(raw.address)).id
    return mask_lookalikes(event_id.encode("utf-8", "replace"), ip_mode).decode()


def dead_letter(failed: FailedEntry, *, ip_mode: IpMode, time_ms: int, attempt: int) -> DeadLetter:
    """Return the dead letter of an entry that failed at `time_ms`, in this attempt to produce its batch."""
    return DeadLetter(dead_value(failed.entry, ip_mode), failed.stage, failed.reason, time_ms, attempt)


def _masked_reason(reason: str, ip_mode: IpMode) -> str:
    """Mask what looks like an address in the words of an error: they go to a log and to the dead letters."""
    return mask_lookalikes(reason.encode("utf-8", "replace"), ip_mode).decode()
