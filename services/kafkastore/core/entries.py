"""Turn an entry of the queue into a record for Kafka, a failed entry, or nothing. Pure: no I/O, no clock."""

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
"""The step in which an entry failed."""

Locate = Callable[[str], Location]
Classify = Callable[[bytes], Device]

_LONGEST_KEY: Final = 256  # keys are cached; ids of real devices are much shorter
_LONGEST_REASON: Final = 200
_LAST_TIME_MS: Final = 2**53  # not every reader of the topic can represent larger numbers


class FailedEntry(NamedTuple):
    """An entry that can never become an event, with the step and the reason."""

    entry: bytes
    stage: Stage
    reason: str


def prepare(  # noqa: PLR0913 - the inputs of an event
    entry: bytes,
    *,
    now_ms: int,
    ip_mode: IpMode,
    locate: Locate,
    classify: Classify,
    erased: frozenset[bytes] = frozenset(),
) -> Record | FailedEntry | None:
    """Turn an entry into a record at the time `now_ms`. Never raises.

    Return None if its device is in `erased` (a set of digests). Then no part of the entry may be written anywhere.
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
    except Exception as error:  # noqa: BLE001 - an error that ends the process would end it after each restart
        kind = "" if isinstance(error, InvalidEvent) else f"{type(error).__name__}: "
        return FailedEntry(entry, stage, _masked_reason(f"{kind}{error}", ip_mode)[:_LONGEST_REASON])


def enrich(raw: RawEvent, location: Location, device: Device, *, now_ms: int, ip_mode: IpMode) -> Event:
    """Build an event from a raw event and the results of the lookups. Raises InvalidEvent.

    Bytes that are not UTF-8 become U+FFFD.
    """
    if not 0 <= raw.received_at_ms < _LAST_TIME_MS:
        raise InvalidEvent("time of receipt is out of range")
    return Event(
        type=type_of_path(raw.path),
        id=raw.id,
        received_at_ms=raw.received_at_ms,
        # The difference can be negative: two clocks can differ by more than the entry waits in the queue.
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
        # A broker rejects a whole batch for one timestamp in the future, and one tracker with a fast clock must not
        # stop all events. The value keeps the time of the tracker.
        min(event.received_at_ms, now_ms),
    )


def partition_key(event: Event) -> bytes | None:
    """Return the key: the device (parameter `di`), or the address. Events with the same key keep their order.

    A device id is cut to 256 bytes. Return None without a device and an address.
    """
    device_id = device_of(event.params)
    if device_id is not None:
        return device_id.encode()[:_LONGEST_KEY]
    return event.address.encode() or None


def dead_value(entry: bytes, ip_mode: IpMode) -> bytes:
    """Return the payload of a dead letter: the entry, with its client's address masked by IP_MODE.

    A decodable entry stays decodable, so it can be replayed. In an undecodable entry, every text that looks like an
    address is masked, and so are the other spellings of that address. The length of the entry stays.
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
    """Return the event id of an entry for a log, with addresses masked. Empty if the entry is undecodable."""
    try:
        raw = decode_raw(entry)
    except InvalidEvent:
        return ""
    event_id = raw.id if ip_mode == "full" else erase_address(raw, own_address(raw.address)).id
    return mask_lookalikes(event_id.encode("utf-8", "replace"), ip_mode).decode()


def dead_letter(failed: FailedEntry, *, ip_mode: IpMode, time_ms: int, attempt: int) -> DeadLetter:
    """Return the dead letter of an entry that failed at `time_ms`.

    `attempt` counts the attempts to produce its batch.
    """
    return DeadLetter(dead_value(failed.entry, ip_mode), failed.stage, failed.reason, time_ms, attempt)


def _masked_reason(reason: str, ip_mode: IpMode) -> str:
    """Mask addresses in an error message, which goes to a log and to the dead letters."""
    return mask_lookalikes(reason.encode("utf-8", "replace"), ip_mode).decode()
