"""metadata_counter: counts events by tracker pod, client address and country."""

from functools import lru_cache
from typing import Final

from services.backbone.counters import Description
from services.backbone.events import (
    META_ADDRESS,
    META_COUNTRY,
    META_POD,
    UNKNOWN_LOCATION,
    EncodedEvent,
    meta_text,
    meta_value,
    readable_address,
)
from services.consumers.core import LABEL_MAX_CHARS, Counts, cut_label

DESCRIPTION: Final = Description(
    name="metadata_counter",
    description="Events by tracker pod, client address and country",
    column_title="Origin",
    legend={
        "(p)": "tracker pod",
        "(c)": "client address, as stored under `IP_MODE`",
        "(l)": "country, by the location of the address",
    },
)

NONE: Final = "none"
"""The label for a missing value."""


def count(event: EncodedEvent, counts: Counts, seen_at_ms: int) -> None:  # noqa: ARG001 - the signature of all handlers
    """Count one event three times: once by pod, once by client address, once by country."""
    meta = event.meta
    counts[_label("(p)", meta_value(meta, META_POD))] += 1
    counts[_label("(c)", meta_value(meta, META_ADDRESS))] += 1
    counts[_label("(l)", meta_value(meta, META_COUNTRY))] += 1


def _label(mark: str, value: bytes | None) -> str:
    if value is None or len(value) <= LABEL_MAX_CHARS:
        return _short_label(mark, value)
    return cut_label(f"{mark} {meta_text(value)}")


# Pods and countries are few, and visitors return. Long values bypass the cache, so that it stays small.
@lru_cache(maxsize=65536)
def _short_label(mark: str, value: bytes | None) -> str:
    text = meta_text(value) if value else ""
    if mark == "(c)":
        text = readable_address(text)
    if mark == "(l)":
        text = text or UNKNOWN_LOCATION
    return cut_label(f"{mark} {text or NONE}")
