"""FirstFailures: logs that the work on a document fails, once for each document."""

from typing import Final

from services.backbone.logs import get_logger

log = get_logger(__name__)

_MOST_KNOWN: Final = 10_000


class FirstFailures:
    """The documents of one queue whose failure is logged already."""

    def __init__(self, event: str) -> None:
        """`event` is the name of the log event."""
        self._event = event
        self._known: set[str] = set()

    def report(self, document_id: str, error: Exception) -> None:
        """Log the first failure of a document in this process. The metrics show how many documents fail now."""
        if document_id in self._known:
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(document_id)
        log.error(self._event, id=document_id, error=f"{type(error).__name__}: {error}"[:500])
