"""event_counter: counts events by type."""

import re
from functools import lru_cache
from typing import Final

from services.backbone.counters import Description
from services.backbone.events import EncodedEvent, decode_type, parameter
from services.consumers.core import LABEL_MAX_CHARS, Counts, cut_label

DESCRIPTION: Final = Description(
    name="event_counter",
    description="Events by type, and by action where an event has one",
    column_title="Event type",
    legend={"type[action]": "events of this type whose parameter `action` has this value"},
)

# Matches params that may contain `action`, also with escapes in its name. Only these are parsed: parsing is slower.
_MAY_HAVE_ACTION: Final = re.compile(rb"(?:^|&)(?:action=|[^=&]{0,24}%[^=&]{0,24}=)")


def count(event: EncodedEvent, counts: Counts, seen_at_ms: int) -> None:  # noqa: ARG001 - the signature of all handlers
    """Count one event under `type`, or `type[action]`."""
    name = _short_type(event.type) if len(event.type) <= LABEL_MAX_CHARS else cut_label(decode_type(event.type))
    if _MAY_HAVE_ACTION.search(event.params):
        action = parameter(event.params.decode("ascii", "replace"), "action")
        if action:
            name = cut_label(f"{name}[{action}]")
    counts[name] += 1


# Types are few and repeat. Long types bypass the cache, so that visitors can't fill it with large strings.
@lru_cache(maxsize=4096)
def _short_type(field: bytes) -> str:
    return cut_label(decode_type(field))
