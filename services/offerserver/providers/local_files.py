"""FileFetcher: a file in place of the source, to try an importer without the internet."""

from pathlib import Path

from services.offerserver.core.documents import document_text
from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.exchanges import HttpExchange, Validators
from services.offerserver.core.importer import FeedDocument, FeedRequest
from services.offerserver.providers.fetching import FetchedDocument, FetchFailed


class FileFetcher:
    """Returns the content of one file for each request."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def fetch(self, request: FeedRequest, validators: Validators | None = None) -> FetchedDocument:
        """Return the document of the file. Raises FetchFailed."""
        del validators
        exchange = HttpExchange(url=str(self._file))
        try:
            body = self._file.read_bytes()
            text = document_text(body, content_type="", kind=request.kind)
        except (OSError, UnreadableFeed) as error:
            raise FetchFailed(str(error), exchange) from None
        return FetchedDocument(FeedDocument(url=exchange.url, text=text), exchange)
