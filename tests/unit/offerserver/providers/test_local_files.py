from pathlib import Path

import pytest

from services.offerserver.core.importer import FeedRequest
from services.offerserver.providers.fetching import FetchFailed
from services.offerserver.providers.local_files import FileFetcher

REQUEST = FeedRequest(url="https://feed.example/", kind="json")


async def test_file_is_read_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "feed.json"
    file.write_bytes(b"\xef\xbb\xbf[1]")
    document = (await FileFetcher(file).fetch(REQUEST)).document
    assert document is not None
    assert document.text == "[1]"


async def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="No such file"):
        await FileFetcher(tmp_path / "nothing").fetch(REQUEST)
