"""The pauses of documents whose work fails while that of others succeeds.

Such a document moves behind all others of its queue, and is tried again after ever longer pauses. So it stops no other
one, and it needs no operator once its cause is gone.
"""

from typing import Any, Final

FIRST_PAUSE_MS: Final = 2_000
LONGEST_PAUSE_MS: Final = 60_000
"""At most this long after the cause is gone, the work is done."""
_MOST_DOUBLINGS: Final = 10


def postponement(*, now_ms: int, failures: str, until: str, also: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an update that counts a failure in the field `failures` and sets the end of the pause in `until`.

    `also` are other fields to set. The pause doubles with each failure, from 4 s to one minute.
    """
    doublings = {"$min": [f"${failures}", _MOST_DOUBLINGS]}
    pause_ms = {"$min": [{"$multiply": [FIRST_PAUSE_MS, {"$pow": [2, doublings]}]}, LONGEST_PAUSE_MS]}
    return [
        {"$set": {failures: {"$add": [{"$ifNull": [f"${failures}", 0]}, 1]}}},
        {"$set": {until: {"$toLong": {"$add": [now_ms, pause_ms]}}, **also}},
    ]
