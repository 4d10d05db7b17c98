"""The statistics consumers by name: the description of each, and the function that counts one event."""

from dataclasses import dataclass
from typing import Final

from services.backbone.counters import Description
from services.consumers.core import Count
from services.consumers.handlers import event_counter, metadata_counter, search_counter, timing_stats


@dataclass(frozen=True)
class Handler:
    """The description and the counting function of one statistics consumer."""

    description: Description
    count: Count


_MODULES = (event_counter, metadata_counter, search_counter, timing_stats)

HANDLERS: Final = {module.DESCRIPTION.name: Handler(module.DESCRIPTION, module.count) for module in _MODULES}
