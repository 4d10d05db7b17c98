"""What a run sends to storage: the form of an offer, and the slices with their event."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from services.offerserver.core.changes import SLICE, ChangedItem, NewItem, OfferChanges, slices
from services.offerserver.core.drafts import Draft
from services.offerserver.core.fingerprints import CONTENT_HASH, MATCH_HASH, SOURCE_ID, Fingerprint
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.pictures import PictureLink

_HASH_BYTES: Final = 8
RunId = tuple[int, int]
"""When a run began, in ms since 1970, and its number. After a loss of Redis the numbers begin anew."""


class OfferPoint(msgspec.Struct, frozen=True):
    """A location in the form of storage."""

    coordinates: tuple[float, float]
    """Longitude and latitude."""
    type: Literal["Point"] = "Point"


class WrittenOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer in the form of storage's API. Fields that are None get their default there."""

    id: str = msgspec.field(name="_id")
    owner: str
    text: str
    keywords: tuple[str, ...]
    location: OfferPoint
    radiusMeters: int  # noqa: N815 - the names of the API
    validfrom: int | None
    validuntil: int | None
    place: Mapping[str, Any]
    extdata: Mapping[str, Any]
    images: tuple[str, ...]
    showLocation: bool = True  # noqa: N815 - what an importer offers is no secret
    allowContacts: bool = True  # noqa: N815 - chat replies are made by machines
    trusted: bool = True


class WriteStep(NamedTuple):
    """One bulk request."""

    new: tuple[WrittenOffer, ...] = ()
    changed: tuple[WrittenOffer | PictureLink, ...] = ()
    removed: tuple[str, ...] = ()
    event: Literal["now", "later", "none"] = "none"


def write_steps(changes: OfferChanges, source: OfferSource, *, run: RunId, size: int = SLICE) -> Iterator[WriteStep]:
    """Yield the requests of a run, each with at most `size` offers.

    What nobody has to know comes first and has no event. The event of the rest is sent by the last request, once. If
    the run is killed before, storage sends it some minutes later, or the next run does.
    """
    for content in slices(changes.content, size):
        yield WriteStep(changed=tuple(_changed(item, source) for item in content))
    for removals in slices(changes.removals, size):
        yield WriteStep(removed=tuple(each.offer_id for each in removals))
    news: list[NewItem | ChangedItem] = [*changes.new, *changes.matching]
    for number, part in enumerate(slices(news, size), 1):
        is_last = number * size >= len(news)
        yield WriteStep(
            new=tuple(_new(item, source, run) for item in part if isinstance(item, NewItem)),
            changed=tuple(_changed(item, source) for item in part if isinstance(item, ChangedItem)),
            event="now" if is_last else "later",
        )


def link_steps(links: Sequence[PictureLink], *, size: int = SLICE) -> Iterator[WriteStep]:
    """Yield the requests that give offers their pictures. Nobody has to know of them."""
    for part in slices(links, size):
        yield WriteStep(changed=tuple(part))


def offer_id(owner: str, source_id: str, run: RunId) -> str:
    """Return the id of a new offer in storage. A request that is sent again by its run creates the offer once.

    It begins with the time in seconds, as all ids of storage do.

    Another run has another id: storage knows a removed offer for some time, and would not create it again.
    """
    began_ms, number = run
    content = f"{owner}\0{source_id}\0{began_ms}\0{number}".encode()
    return f"{began_ms // 1000:08x}{hashlib.blake2b(content, digest_size=_HASH_BYTES).hexdigest()}"


def _new(item: NewItem, source: OfferSource, run: RunId) -> WrittenOffer:
    """Return a new offer. Its pictures follow, so that no picture delays an offer."""
    return _written(offer_id(source.owner, item.draft.id, run), item.draft, item.fingerprint, source, ())


def _changed(item: ChangedItem, source: OfferSource) -> WrittenOffer:
    return _written(item.offer_id, item.draft, item.fingerprint, source, item.images)


def _written(name: str, draft: Draft, mark: Fingerprint, source: OfferSource, images: tuple[str, ...]) -> WrittenOffer:
    keywords = {keyword.casefold(): keyword for keyword in (*source.keywords, *draft.keywords)}
    return WrittenOffer(
        id=name,
        owner=source.owner,
        text=draft.text,
        keywords=tuple(keywords.values()),
        location=OfferPoint((draft.longitude, draft.latitude)),
        radiusMeters=source.radius_m if draft.radius_m is None else draft.radius_m,
        validfrom=draft.valid_from_ms,
        validuntil=draft.valid_until_ms,
        place=draft.place,
        images=images,
        extdata={
            **draft.extdata,
            SOURCE_ID: draft.id,
            MATCH_HASH: mark.match,
            CONTENT_HASH: mark.content,
            "licence": source.licence,
            "attribution": source.attribution,
        },
    )
