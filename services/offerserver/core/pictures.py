"""The pictures of offers: which ones an offer lacks, and when a picture that failed is tried again.

A picture is stored in the imageserver under the digest of its URL, and the offer has its path in `images`. So storage
knows which pictures an offer has, and the imageserver knows which ones it has. What is remembered here only bounds the
attempts: nothing is lost with it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from services.offerserver.core.changes import KnownOffer
from services.offerserver.core.drafts import Draft
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.picture_names import picture_key, picture_path
from services.offerserver.core.values import Rejection, shown

PictureResult = Literal["uploaded", "known", "not_fetched", "rejected", "not_stored"]
"""What became of a picture. known: the imageserver has it already. not_fetched: its source did not return it.
rejected: the imageserver does not accept it, such as a page of HTML. not_stored: the imageserver failed."""
PICTURE_RESULTS: Final[tuple[PictureResult, ...]] = get_args(PictureResult)
_FIRST_RETRY_S: Final = 3_600.0
_LONGEST_RETRY_S: Final = 86_400.0
_FACTOR: Final = 4
_MOST_LISTED: Final = 50


class PictureFailure(msgspec.Struct, frozen=True):
    """A picture that failed."""

    attempts: int
    retry_ms: int
    """When it is tried again."""
    reason: str


class PictureMemory(msgspec.Struct, frozen=True):
    """What is remembered of the pictures of an importer."""

    failures: Mapping[str, PictureFailure] = msgspec.field(default_factory=dict)
    """By key."""
    due_ms: int | None = None
    """When pictures that offers lack are tried again. None: no offer lacks one."""

    def is_due(self, now_ms: int) -> bool:
        """Return whether a run must read the feed for its pictures, also if the feed has not changed."""
        return self.due_ms is not None and self.due_ms <= now_ms


class PictureCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of pictures of a run."""

    linked: int = 0
    """Offers that got pictures."""
    waiting: int = 0
    """Pictures that were not tried: the time of the run was over, or the imageserver did not respond."""
    results: Mapping[PictureResult, int] = msgspec.field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Pictures that failed in this run."""
        return sum(number for result, number in self.results.items() if result not in ("uploaded", "known"))


class PictureAttempt(NamedTuple):
    """An attempt to store a picture."""

    result: PictureResult
    reason: str = ""
    wait_s: float = 0.0
    """The seconds that its source asks to wait."""

    @property
    def is_stored(self) -> bool:
        """Whether the imageserver has the picture."""
        return self.result in ("uploaded", "known")


class LoadedPictures(msgspec.Struct):
    """The attempts of a run."""

    attempts: dict[str, PictureAttempt] = msgspec.field(default_factory=dict)
    """By URL."""
    unavailable: str = ""
    """Why the imageserver was not asked further."""


class LackingOffer(NamedTuple):
    """An offer that lacks pictures which its feed names."""

    offer_id: str
    draft: Draft
    images: tuple[str, ...]
    """The paths that it has."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of the pictures that it lacks."""
        return tuple(url for url in self.draft.image_urls if picture_path(url) not in self.images)

    def images_with(self, stored: Collection[str]) -> tuple[str, ...]:
        """Return the paths after these URLs are stored, in the order of the feed."""
        paths = ((url, picture_path(url)) for url in self.draft.image_urls)
        return tuple(path for url, path in paths if url in stored or path in self.images)


class PictureLink(msgspec.Struct, frozen=True):
    """A change of the images of an offer, in the form of storage's API. Its other fields stay."""

    id: str = msgspec.field(name="_id")
    images: tuple[str, ...]


def lacking_offers(drafts: Iterable[Draft], known: Iterable[KnownOffer], source: OfferSource) -> list[LackingOffer]:
    """Return the offers that lack pictures.

    An offer that differs from its draft is left out: the run was not allowed to write it, or storage refused it.
    """
    by_id = {offer.source_id: offer for offer in known if offer.source_id}
    found = []
    for draft in drafts:
        offer = by_id.get(draft.id) if draft.image_urls else None
        if offer is None or offer.fingerprint != fingerprint(draft, source):
            continue
        lacking = LackingOffer(offer.offer_id, draft, offer.images)
        if lacking.urls:
            found.append(lacking)
    return found


def due_urls(lacking: Iterable[LackingOffer], memory: PictureMemory, now_ms: int) -> list[str]:
    """Return the URLs to try now: those that were never tried, then those that failed, the longest waiting first."""
    wanted = dict.fromkeys(url for offer in lacking for url in offer.urls)
    retries = {url: failure.retry_ms if (failure := memory.failures.get(picture_key(url))) else 0 for url in wanted}
    return sorted((url for url in wanted if retries[url] <= now_ms), key=retries.__getitem__)


def picture_links(lacking: Iterable[LackingOffer], loaded: LoadedPictures) -> list[PictureLink]:
    """Return the changes of offers whose pictures are stored now."""
    stored = {url for url, attempt in loaded.attempts.items() if attempt.is_stored}
    return [
        PictureLink(offer.offer_id, offer.images_with(stored)) for offer in lacking if not stored.isdisjoint(offer.urls)
    ]


def next_memory(
    lacking: Iterable[LackingOffer], loaded: LoadedPictures, before: PictureMemory, now_ms: int, *, is_whole: bool
) -> PictureMemory:
    """Return what to remember after a run. `is_whole`: the feed is complete, so other failures are outdated.

    A picture that failed is tried again after an hour, then after four times as long each time, up to a day, or after
    what its source asks for.
    """
    failures: dict[str, PictureFailure] = {} if is_whole else dict(before.failures)
    due = [] if is_whole or before.due_ms is None else [before.due_ms]
    for url in {url for offer in lacking for url in offer.urls}:
        key, attempt = picture_key(url), loaded.attempts.get(url)
        former = before.failures.get(key)
        if attempt is not None and attempt.is_stored:
            failures.pop(key, None)
            continue
        if attempt is not None:
            failures[key] = _failed_again(attempt, former, now_ms)
        elif former is not None:
            failures[key] = former
        due.append(failures[key].retry_ms if key in failures else now_ms)
    return PictureMemory(failures, min(due, default=None))


def picture_counts(loaded: LoadedPictures, *, linked: int, tried: Sequence[str]) -> PictureCounts:
    """Return the numbers of a run that tried these URLs."""
    results: dict[PictureResult, int] = {}
    for attempt in loaded.attempts.values():
        results[attempt.result] = results.get(attempt.result, 0) + 1
    return PictureCounts(linked=linked, waiting=len(tried) - len(loaded.attempts), results=results)


def picture_remarks(
    lacking: Iterable[LackingOffer], loaded: LoadedPictures, memory: PictureMemory
) -> Iterator[Rejection]:
    """Yield the pictures that offers still lack with their reasons, at most 50."""
    if loaded.unavailable:
        yield Rejection("", "images", "", f"the imageserver was not asked further: {shown(loaded.unavailable)}")
    left = _MOST_LISTED
    for offer in lacking:
        for url in offer.urls:
            if left and (failure := memory.failures.get(picture_key(url))):
                left -= 1
                yield Rejection(shown(offer.draft.id), "images", shown(url), failure.reason)


def _failed_again(attempt: PictureAttempt, former: PictureFailure | None, now_ms: int) -> PictureFailure:
    attempts = 1 if former is None else former.attempts + 1
    planned_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * float(_FACTOR) ** min(attempts - 1, 10))
    wait_s = min(_LONGEST_RETRY_S, max(planned_s, attempt.wait_s))
    return PictureFailure(attempts, now_ms + round(1000 * wait_s), attempt.reason)
