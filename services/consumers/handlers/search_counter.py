"""search_counter: counts the texts of previewed offers."""

from typing import Final

from services.backbone.counters import Description
from services.backbone.events import EncodedEvent, parameter
from services.consumers.core import Counts, cut_label

DESCRIPTION: Final = Description(
    name="search_counter",
    description="Texts of offers that were previewed",
    column_title="Text",
    legend={"text": "the parameter `text` of `offr` events with `action=preview`, unchanged"},
)


def count(event: EncodedEvent, counts: Counts, seen_at_ms: int) -> None:  # noqa: ARG001 - the signature of all handlers
    """Count the text of a preview. Skip blank texts and all other events."""
    if event.type != b"offr":
        return
    params = event.params.decode("ascii", "replace")
    if parameter(params, "action") != "preview":
        return
    text = parameter(params, "text")
    if text and not text.isspace():
        counts[cut_label(text)] += 1
