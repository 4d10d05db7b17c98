"""Drafts: the offers that a parser found in a feed, and the checks that all of them pass.

A parser needs no checks of bounds: the framework checks each draft here, and lists what it rejects.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from services.offerserver.core.values import InvalidRow, Rejection, rejection, shown, visible_text

MOST_TEXT_CHARS: Final = 500
MOST_ID_CHARS: Final = 500
"""Some sources identify an item by its URL."""
MOST_KEYWORDS: Final = 32
MOST_KEYWORD_CHARS: Final = 64
"""The limits of storage (services/storage/api.md)."""
MOST_EXTDATA_BYTES: Final = 16_384
"""As JSON. storage accepts 64 KiB."""
MOST_RADIUS_M: Final = 100_000
MOST_IMAGES: Final = 8
_MOST_URL_CHARS: Final = 2_048
_MOST_DEPTH: Final = 10
_LATITUDE, _LONGITUDE = 90.0, 180.0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An offer as a source describes it."""

    id: str
    """The id of the source, the same in each feed. Never the position in the feed."""
    text: str
    latitude: float
    longitude: float
    keywords: tuple[str, ...] = ()
    """Its own ones, beside those of the source."""
    radius_m: int | None = None
    """None: that of the source."""
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    """The end that the item itself has. None: the offer stays as long as the feed contains it."""
    place: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The address: language -> names of the old system, such as `route` and `locality`."""
    extdata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What chat replies need (services/consumers/core/chat_commands.py)."""
    image_urls: tuple[str, ...] = ()


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a parser found in the documents of one run."""

    drafts: tuple[Draft, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    """Rows that are not imported. They count against the trust in the run."""
    remarks: tuple[Rejection, ...] = ()
    """Facts for operators that do not count, such as a duplicate."""
    removed: frozenset[str] = frozenset()
    """The ids that the source itself reports as removed."""
    partial: tuple[str, ...] = ()
    """Why the feed is incomplete. Empty: it is complete."""


class UnreadableFeed(Exception):
    """A document is not of the expected form, so nothing of it can be used. The message is the reason."""


class AreaBox(NamedTuple):
    """The area of a source, in degrees. It does not cross the antimeridian."""

    south: float
    west: float
    north: float
    east: float

    def contains(self, latitude: float, longitude: float) -> bool:
        """Return whether a point is in the box or on its edge."""
        return self.south <= latitude <= self.north and self.west <= longitude <= self.east


def checked(parsed: Parsed, *, box: AreaBox | None, base_keywords: int) -> Parsed:
    """Return what is left after the checks that all sources have in common.

    A draft out of bounds is rejected. Titles lose what can't be seen. Of several drafts with one id, the last one
    stays, and a remark lists it. An id that the source reports as removed has no draft. `base_keywords` is the number
    of keywords of the source.
    """
    rejections = list(parsed.rejections)
    remarks = list(parsed.remarks)
    kept: dict[str, Draft] = {}
    for draft in parsed.drafts:
        try:
            draft = _checked_draft(draft, box=box, base_keywords=base_keywords)  # noqa: PLW2901 - its images
        except InvalidRow as error:
            rejections.append(rejection(draft.id, error))
            continue
        if draft.id in kept:
            remarks.append(Rejection(shown(draft.id), "id", shown(draft.text), "occurs twice: the last one is used"))
        kept[draft.id] = draft
    drafts = tuple(draft for draft in kept.values() if draft.id not in parsed.removed)
    return msgspec.structs.replace(parsed, drafts=drafts, rejections=tuple(rejections), remarks=tuple(remarks))


def merged(parts: Iterable[Parsed]) -> Parsed:
    """Return the drafts of several documents of one run together."""
    found = list(parts)
    return Parsed(
        drafts=tuple(draft for part in found for draft in part.drafts),
        rejections=tuple(each for part in found for each in part.rejections),
        remarks=tuple(each for part in found for each in part.remarks),
        removed=frozenset().union(*(part.removed for part in found)),
        partial=tuple(dict.fromkeys(reason for part in found for reason in part.partial)),
    )


def _checked_draft(draft: Draft, *, box: AreaBox | None, base_keywords: int) -> Draft:
    _check_text("id", draft.id, MOST_ID_CHARS)
    text = visible_text(draft.text)
    _check_text("text", text, MOST_TEXT_CHARS)
    _check_point(draft.latitude, draft.longitude, box)
    if draft.radius_m is not None and not 0 <= draft.radius_m <= MOST_RADIUS_M:
        raise InvalidRow("radius", draft.radius_m, f"must be from 0 to {MOST_RADIUS_M} m")
    begin_ms, end_ms = draft.valid_from_ms, draft.valid_until_ms
    if begin_ms is not None and end_ms is not None and end_ms < begin_ms:
        raise InvalidRow("validity", f"{begin_ms} to {end_ms}", "ends before it begins")
    if len(draft.keywords) + base_keywords > MOST_KEYWORDS:
        raise InvalidRow("keywords", " ".join(draft.keywords), f"are more than {MOST_KEYWORDS} with those of all")
    for keyword in draft.keywords:
        _check_text("keywords", keyword, MOST_KEYWORD_CHARS)
    for name, value in (("extdata", draft.extdata), ("place", draft.place)):
        _check_json(name, value)
    images = tuple(url for url in dict.fromkeys(draft.image_urls) if _is_image_url(url))[:MOST_IMAGES]
    is_changed = text != draft.text or images != draft.image_urls
    return msgspec.structs.replace(draft, text=text, image_urls=images) if is_changed else draft


def _check_text(field: str, value: str, most: int) -> None:
    if not visible_text(value):
        raise InvalidRow(field, value, "is empty")
    if len(value) > most:
        raise InvalidRow(field, value, f"has {len(value)} characters; at most {most} are allowed")


def _check_point(latitude: float, longitude: float, box: AreaBox | None) -> None:
    point = f"{round(latitude, 6)}, {round(longitude, 6)}"
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        raise InvalidRow("location", point, "is not a pair of finite numbers")
    if abs(latitude) > _LATITUDE or abs(longitude) > _LONGITUDE:
        raise InvalidRow("location", point, "is not on earth")
    if latitude == longitude == 0.0:
        raise InvalidRow("location", point, "is 0/0, which stands for no location")
    if box is not None and not box.contains(latitude, longitude):
        exchanged = box.contains(longitude, latitude)
        hint = "; latitude and longitude are probably exchanged" if exchanged else ""
        raise InvalidRow("location", point, f"is outside of the area of the importer{hint}")


def _check_json(field: str, value: Mapping[str, Any]) -> None:
    if _depth(value) > _MOST_DEPTH:
        raise InvalidRow(field, "", f"is nested deeper than {_MOST_DEPTH} levels")
    size = len(msgspec.json.encode(value))
    if size > MOST_EXTDATA_BYTES:
        raise InvalidRow(field, "", f"has {size} bytes as JSON; at most {MOST_EXTDATA_BYTES} are allowed")


def _depth(value: Any, above: int = 0) -> int:
    """Return the depth of a JSON value, which is counted no further than needed."""
    if not value or not isinstance(value, dict | list) or above > _MOST_DEPTH:
        return above
    return max(_depth(each, above + 1) for each in (value.values() if isinstance(value, dict) else value))


def _is_image_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return len(url) <= _MOST_URL_CHARS and parts.scheme in ("http", "https") and bool(parts.netloc)
