import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.backbone.pages import Assets


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "main.js").write_text('import { copyText } from "../push/copy.js";\ncopyText("x");\n')
    (tmp_path / "page.css").write_text("a { color: var(--text); }\n" * 50)
    (tmp_path / "dot.png").write_bytes(b"\x89PNG")
    return tmp_path


@pytest.fixture
def assets(directory: Path) -> Assets:
    return Assets(directory)


@pytest.fixture
async def client(assets: Assets) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(assets) as client:
        yield client


def opened(assets: Assets) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(assets), base_url="http://test")


async def test_file_is_kept_for_a_year_under_the_name_with_its_hash(assets: Assets, client: httpx.AsyncClient) -> None:
    response = await client.get(assets.url("page.css"))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"].startswith("text/css")
    assert response.headers["vary"] == "Accept-Encoding"


def test_other_content_has_another_name(assets: Assets, directory: Path) -> None:
    (directory / "page.css").write_text("b {}\n")
    assert Assets(directory).url("page.css") != assets.url("page.css")


async def test_style_sheet_is_served_without_comments_except_one_of_another_project(directory: Path) -> None:
    text = "/* one */\nb {\n  color: red; /* two\n  */\n}\n"
    (directory / "page.css").write_text(text)
    (directory / "push" / "vendor").mkdir(parents=True)
    (directory / "push" / "vendor" / "other.css").write_text(text)
    assets = Assets(directory)
    async with opened(assets) as client:
        assert (await client.get(assets.url("page.css"))).text == "b {\n  color: red;}\n"
        assert (await client.get(assets.url("push/vendor/other.css"))).text == text


def test_same_content_has_the_same_name_in_every_process(assets: Assets, directory: Path) -> None:
    assert Assets(directory).url("live/main.js") == assets.url("live/main.js")


@pytest.mark.parametrize("name", ["page.css", "page.0123456789ab.css"], ids=["without a hash", "with an old hash"])
async def test_other_name_of_a_file_redirects_to_the_present_one(
    assets: Assets, client: httpx.AsyncClient, name: str
) -> None:
    response = await client.get(f"/static/{name}")
    assert (response.status_code, response.headers["location"]) == (307, assets.url("page.css"))
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("old", ["/static/LICENSE", "/static/LICENSE.0123456789ab"])
async def test_file_without_an_extension_has_its_hash_at_the_end(directory: Path, old: str) -> None:
    (directory / "LICENSE").write_text("free\n")
    assets = Assets(directory)
    assert assets.url("LICENSE").startswith("/static/LICENSE.")
    async with opened(assets) as client:
        assert (await client.get(assets.url("LICENSE"))).text == "free\n"
        assert (await client.get(old)).headers["location"] == assets.url("LICENSE")


@pytest.mark.parametrize(
    "path", ["/static/none.css", "/static/", "/static/../settings.py", "/static/page.css/", "/static/.hidden"]
)
async def test_unknown_file_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("*", "gzip"),
        ("", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip; q=0.0", None),
    ],
)
async def test_text_is_compressed_when_the_client_accepts_it(
    assets: Assets, client: httpx.AsyncClient, directory: Path, accepted: str, encoding: str | None
) -> None:
    response = await client.get(assets.url("page.css"), headers={"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == encoding
    assert response.content == (directory / "page.css").read_bytes()  # the client has decompressed it


async def test_image_is_not_compressed(assets: Assets, client: httpx.AsyncClient) -> None:
    response = await client.get(assets.url("dot.png"), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "image/png"


async def test_unchanged_file_is_not_sent_again(assets: Assets, client: httpx.AsyncClient) -> None:
    etag = (await client.get(assets.url("page.css"))).headers["etag"]
    response = await client.get(assets.url("page.css"), headers={"If-None-Match": etag})
    assert (response.status_code, response.content) == (304, b"")


async def test_head_has_the_headers_and_no_body(assets: Assets, client: httpx.AsyncClient) -> None:
    response = await client.head(assets.url("dot.png"))
    assert (response.status_code, response.headers["content-length"], response.content) == (200, "4", b"")


async def test_other_method_is_not_allowed(assets: Assets, client: httpx.AsyncClient) -> None:
    response = await client.post(assets.url("page.css"))
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


async def test_script_is_served_with_the_modules_that_it_imports(assets: Assets, client: httpx.AsyncClient) -> None:
    text = (await client.get(assets.url("live/main.js"))).text
    assert "async function copyText" in text
    assert "import" not in text


def test_url_starts_with_the_host_in_front(directory: Path) -> None:
    url = Assets(directory, url="https://www1.example.com/").url("page.css")
    assert url.startswith("https://www1.example.com/static/page.")


async def test_other_host_may_load_modules(assets: Assets, client: httpx.AsyncClient) -> None:
    assert (await client.get(assets.url("live/main.js"))).headers["access-control-allow-origin"] == "*"


def test_unknown_name_in_a_template_raises(assets: Assets) -> None:
    with pytest.raises(KeyError):
        assets.url("none.css")


async def test_compressed_content_is_the_same_in_every_process(directory: Path) -> None:
    async def compressed() -> bytes:
        assets = Assets(directory)
        async with opened(assets) as client, client.stream("GET", assets.url("page.css")) as response:
            return b"".join([part async for part in response.aiter_raw()])

    first = await compressed()
    assert first == await compressed()
    assert gzip.decompress(first)


async def test_websocket_is_refused(assets: Assets) -> None:
    sent: list[str] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await assets({"type": "websocket", "path": assets.url("page.css"), "headers": []}, receive, send)
    assert sent == ["websocket.close"]


def test_path_with_a_hash_is_open_also_from_an_earlier_release(assets: Assets) -> None:
    assert assets.url("page.css") in assets
    assert "/static/page.0123456789ab.css" in assets


@pytest.mark.parametrize(
    "path",
    ["/static/page.css", "/static/none.0123456789ab.css", "/page.0123456789ab.css", "/consumers.0123456789ab.css"],
)
def test_other_path_is_not_open(assets: Assets, path: str) -> None:
    assert path not in assets
