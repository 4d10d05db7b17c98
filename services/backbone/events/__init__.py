"""The two wire formats of an event and their encoders and decoders. Pure: no I/O, no clock.

RawEvent is what the tracker stores in Redis and kafkastore reads: internal, versioned, any bytes are preserved.
Event is a record of the Kafka topic: public, three fields separated by one space, also read by programs outside this
repository:

    <type> <meta> <params>

type is percent-encoded where needed, meta is `application/x-www-form-urlencoded`, params is the request's
query as received, or `-` without one.
"""

from services.backbone.events.enriched import (
    EVENT_FORMAT_VERSION,
    FINGERPRINT_BYTES,
    META_ADDRESS,
    META_BOT_NAME,
    META_CITY,
    META_CLIENT_TIME,
    META_COUNTRY,
    META_DEVICE,
    META_HOST,
    META_ID,
    META_KEYS,
    META_OPTED_OUT,
    META_POD,
    META_QUEUE_DELAY,
    META_RECEIVED_AT,
    META_REFERRER,
    UNKNOWN_LOCATION,
    Device,
    EncodedEvent,
    Event,
    Location,
    Record,
    encode_event,
    encode_params,
    fingerprint,
    meta_text,
    meta_value,
    parameter,
    parameters,
    readable_address,
    split_event,
)
from services.backbone.events.errors import InvalidEvent
from services.backbone.events.event_type import decode_type, encode_type, path_of_type, type_of_path
from services.backbone.events.raw import LONGEST_ID, RawEvent, client_id, decode_raw, encode_raw

__all__ = [
    "EVENT_FORMAT_VERSION",
    "FINGERPRINT_BYTES",
    "LONGEST_ID",
    "META_ADDRESS",
    "META_BOT_NAME",
    "META_CITY",
    "META_CLIENT_TIME",
    "META_COUNTRY",
    "META_DEVICE",
    "META_HOST",
    "META_ID",
    "META_KEYS",
    "META_OPTED_OUT",
    "META_POD",
    "META_QUEUE_DELAY",
    "META_RECEIVED_AT",
    "META_REFERRER",
    "UNKNOWN_LOCATION",
    "Device",
    "EncodedEvent",
    "Event",
    "InvalidEvent",
    "Location",
    "RawEvent",
    "Record",
    "client_id",
    "decode_raw",
    "decode_type",
    "encode_event",
    "encode_params",
    "encode_raw",
    "encode_type",
    "fingerprint",
    "meta_text",
    "meta_value",
    "parameter",
    "parameters",
    "path_of_type",
    "readable_address",
    "split_event",
    "type_of_path",
]
