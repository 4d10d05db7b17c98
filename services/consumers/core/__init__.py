"""The rules of the statistics consumers, without I/O."""

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
