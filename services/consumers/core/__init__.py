"""The rules of the consumers, without I/O. The names here are those of the statistics consumers (`counting`).

For the action consumers: `actions`, `chat` and `places` decide which event makes which action, `chat_commands` and
`place_offers` what its effect is, `offsets` which offset is committed, and `flights` which action is sent to the
workers, and when.
"""

from services.consumers.core.counting import (
    LABEL_MAX_CHARS,
    Count,
    Counts,
    Folded,
    cut_label,
    fold,
    ids_at,
    whole_number,
)

__all__ = ["LABEL_MAX_CHARS", "Count", "Counts", "Folded", "cut_label", "fold", "ids_at", "whole_number"]
