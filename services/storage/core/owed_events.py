"""The parameters of the events `offr` and `srch`."""

import hashlib
from typing import Final
from urllib.parse import quote

from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject

EVENT_TYPES: Final[dict[SubjectKind, str]] = {"offer": "offr", "search": "srch"}
BULK_EVENT: Final = "bud"
_TITLE_CHARACTERS: Final = 1_000
"""A title is shown in lists of events. The event must stay below the size limit of the tracker."""
_OWNER_ID_CHARACTERS: Final = 100
"""The tracker accepts ids of at most 128 characters."""


def event_params(stored: StoredObject, action: str) -> dict[str, str]:
    """Return the parameters of an event of an object, as it is now.

    Events reach people other than the owner, so they have the public location if the owner hides the true one.
    """
    fields = stored.fields
    location = fields.location if fields.show_location else stored.public_location
    return {
        "action": action,
        "_id": stored.id,
        "isact": "true" if stored.is_matchable else "false",
        "title": fields.text[:_TITLE_CHARACTERS],
        "lat": repr(location.lat),
        "lng": repr(location.lng),
        "radi": f"{fields.radius_m:g}",
    }


def bulk_event_id(owner: str, version: int) -> str:
    """Return the id of the event of a bulk write. An owner that an id cannot hold is replaced by its digest."""
    quoted = quote(owner, safe="")
    if len(quoted) > _OWNER_ID_CHARACTERS:
        quoted = hashlib.sha256(owner.encode()).hexdigest()
    return f"{quoted}.{version}.{BULK_EVENT}"
