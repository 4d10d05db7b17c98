"""The forms of documents in MongoDB, against which stored documents are checked."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from services.storage.core.objects import RANK_SINGLE

StoredDocument = Mapping[str, Any]
_Form = TypeVar("_Form", bound=msgspec.Struct)


class MalformedDocument(ValueError):
    """A stored document does not have the form of this module: an older version or a person has written it."""


class _Point(msgspec.Struct, frozen=True, gc=False):
    coordinates: tuple[float, float]


class FixForm(msgspec.Struct, frozen=True):
    """The form of a location fix."""

    at: int
    location: tuple[float, float]
    accuracy: float


class _Deleted(msgspec.Struct, frozen=True):
    active: bool


class ObjectForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an object."""

    id: str = msgspec.field(name="_id")
    owner: str
    location: _Point
    radius_m: Annotated[float, msgspec.Meta(ge=0)] = msgspec.field(name="radiusMeters")
    keys: tuple[str, ...]
    version: int
    edited: int
    is_active: bool = msgspec.field(name="isActive")
    # A number that a person enters in the shell of MongoDB is a float.
    validfrom: int | float | None = None
    validuntil: int | float | None = None
    fixed: int = 0
    text: str = ""
    keywords: tuple[str, ...]
    show_location: bool = msgspec.field(name="showLocation", default=False)
    allow_contacts: bool = msgspec.field(name="allowContacts", default=False)
    is_mobile: bool = msgspec.field(name="isMobile", default=False)
    trusted: bool = False
    place: dict[str, Any] = {}
    images: tuple[str | None, ...] = ()
    extdata: dict[str, Any] = {}
    words: tuple[str, ...]
    public_location: _Point
    created: int
    modified: int
    due_at: int | None = None
    due_rank: int = RANK_SINGLE
    fix: FixForm | None = None
    fixes: tuple[FixForm, ...] = ()
    matched_location: tuple[float, float] | None = None
    leaving: bool = False
    deleted: _Deleted | None = None


class PairForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a pair."""

    search: str
    offer: str
    is_in: bool = msgspec.field(name="in")
    encounter: int
    since: int
    distance: float
    keys: tuple[str, ...]
    search_version: int
    offer_version: int
    decided: int
    offer_leaving: tuple[int, int, int]
    search_leaving: tuple[int, int, int]
    moved_out: bool
    notified: int
    by_hand: tuple[tuple[int, int], ...] = ()
    revision: int


def read_form(document: StoredDocument, form: type[_Form]) -> _Form:
    """Return a document in its form. Raises MalformedDocument."""
    try:
        return msgspec.convert(document, form)
    except msgspec.ValidationError as error:
        raise MalformedDocument(str(error)) from None
