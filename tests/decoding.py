"""A complete decoder of the topic's format. No service needs more than single keys of an event, so tests own it."""

from urllib.parse import parse_qsl

from services.backbone.events import (
    UNKNOWN_LOCATION,
    Device,
    Event,
    InvalidEvent,
    Location,
    decode_type,
    split_event,
)


def decode_event(value: bytes) -> Event:
    """Decode a record's value as a reader outside this repository would. Ignore unknown keys of meta.

    Raises InvalidEvent when the value is not an event.
    """
    encoded = split_event(value)
    meta = dict(parse_qsl(encoded.meta.decode("ascii", "replace"), keep_blank_values=True))
    try:
        client_time = meta.get("cts")
        return Event(
            type=decode_type(encoded.type),
            id=meta["id"],
            received_at_ms=int(meta["ts"]),
            queue_delay_ms=int(meta["klag"]),
            host=meta.get("host", ""),
            pod=meta.get("pod", ""),
            address=meta.get("ip", ""),
            location=Location(meta.get("country", UNKNOWN_LOCATION), meta.get("city", UNKNOWN_LOCATION)),
            device=Device(**{name: meta[name] for name in Device.__struct_fields__ if name in meta}),
            referrer=meta.get("ref", ""),
            client_time_ms=None if client_time is None else int(client_time),
            opted_out=meta.get("optout") == "1",
            params="" if encoded.params == b"-" else encoded.params.decode("ascii", "replace"),
        )
    except KeyError as error:
        raise InvalidEvent(f"meta has no {error.args[0]!r}") from error
    except ValueError as error:
        raise InvalidEvent(f"meta has a malformed number: {error}") from error
