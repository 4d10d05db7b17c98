"""Fetches all documents of a run."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.backbone.logs import get_logger
from services.offerserver.core.exchanges import HttpExchange, Validators
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, no_further_page
from services.offerserver.core.values import shown
from services.offerserver.providers.fetching import DocumentFetcher, FetchFailed

log = get_logger(__name__)

MOST_DOCUMENTS: Final = 50
"""The most documents of a run: a source may always have another page."""
_NOT_MODIFIED: Final = 304


class RunDocuments(NamedTuple):
    """What the source sent."""

    documents: list[FeedDocument]
    exchanges: list[HttpExchange]
    failures: list[str]
    """Why other documents are missing."""
    is_unchanged: bool
    """Whether the source reported that no document has changed. Then there are none."""
    validators: dict[str, Validators]
    """By URL, for the next run."""


async def fetch_documents(
    importer: Importer, fetcher: DocumentFetcher, area: ImportArea, known: Mapping[str, Validators]
) -> RunDocuments:
    """Return the documents of a source. Raises RedisError.

    Requests are conditional. If some documents have changed and others have not, these are fetched again without a
    condition: a feed is compared as a whole. A source with further pages gets no condition, because a page that has not
    changed does not name the next one.
    """
    requests = importer.requests(area)
    if importer.next_page is not no_further_page:
        known = {}
    found = await _fetch(importer, fetcher, requests, known)
    if found.is_unchanged or not any(exchange.status == _NOT_MODIFIED for exchange in found.exchanges):
        return found
    again = await _fetch(importer, fetcher, requests, {})
    return again._replace(exchanges=[*found.exchanges, *again.exchanges])


async def _fetch(
    importer: Importer, fetcher: DocumentFetcher, requests: Sequence[FeedRequest], known: Mapping[str, Validators]
) -> RunDocuments:
    documents: list[FeedDocument] = []
    exchanges: list[HttpExchange] = []
    failures: list[str] = []
    validators: dict[str, Validators] = {}
    waiting: list[FeedRequest] = list(requests)
    while waiting:
        request = waiting.pop(0)
        try:
            found = await fetcher.fetch(request, known.get(request.url))
        except FetchFailed as error:
            log.warning("fetch_failed", importer=importer.source.name, url=request.url, reason=str(error))
            exchanges.append(error.exchange)
            failures.append(str(error))
            continue
        exchanges.append(found.exchange)
        if found.document is None:
            continue
        documents.append(found.document)
        if any((found.exchange.validators.etag, found.exchange.validators.last_modified)):
            validators[request.url] = found.exchange.validators
        following = await _next_page(importer, request, found.document, failures)
        if following is not None and len(exchanges) + len(waiting) < MOST_DOCUMENTS:
            waiting.append(following)
        elif following is not None:
            failures.append(f"the source has more than {MOST_DOCUMENTS} documents")
    is_unchanged = bool(exchanges) and all(each.status == _NOT_MODIFIED for each in exchanges)
    return RunDocuments(documents, exchanges, failures, is_unchanged, validators)


async def _next_page(
    importer: Importer, request: FeedRequest, document: FeedDocument, failures: list[str]
) -> FeedRequest | None:
    """Return the request for the page after a document. It reads the document, so it runs in a thread.

    A document that cannot be read for it stays: the run is then incomplete.
    """
    try:
        return await asyncio.to_thread(importer.next_page, request, document)
    except Exception as error:
        log.exception("next_page_failed", importer=importer.source.name, url=request.url)
        failures.append(f"no next page can be found: {type(error).__name__}: {shown(str(error))}")
        return None
