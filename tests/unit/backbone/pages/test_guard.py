from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import Counter
from starlette.responses import PlainTextResponse

from services.backbone.pages.guard import Guard, Login, _host_of, _same_origin

OPEN = "/static/push.0123456789ab.css"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of a guarded application."""
    guard = Guard(
        PlainTextResponse("reached"),
        name="toy",
        login=Login(b"me", b"secret"),
        refused=Counter("refused", "Refused requests", ("reason",), registry=None),
        open_paths={OPEN},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://toy.example") as client:
        yield client


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_page_of_another_site_cannot_change_anything(client: httpx.AsyncClient, method: str) -> None:
    login = httpx.BasicAuth("me", "secret")
    other = await client.request(method, "/", auth=login, headers={"Origin": "https://evil.example"})
    own = await client.request(method, "/", auth=login, headers={"Origin": "http://toy.example"})
    script = await client.request(method, "/", auth=login)
    assert (other.status_code, own.status_code, script.status_code) == (403, 200, 200)


async def test_page_of_another_site_may_link_to_a_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/", auth=httpx.BasicAuth("me", "secret"), headers={"Origin": "https://other.example"})
    assert response.status_code == 200


async def test_open_path_needs_no_login_and_every_other_path_does(client: httpx.AsyncClient) -> None:
    assert (await client.get(OPEN)).status_code == 200
    assert (await client.get("/static/push.css")).status_code == 401


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1:5031", "127.0.0.1"), ("localhost", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")],
)
def test_host_name_is_separated_from_the_port(host: str, name: str) -> None:
    assert _host_of(host) == name


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:5031", "127.0.0.1:5031"),
        ("https://kafidx.example.org", "kafidx.example.org"),
        ("https://kafidx.example.org", "KAFIDX.example.org:443"),
        ("http://kafidx.example.org:80", "kafidx.example.org"),
    ],
)
def test_origin_of_its_own_pages_is_the_same(origin: str, host: str) -> None:
    assert _same_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "kafidx.example.org"),
        ("", ""),
        ("http://kafidx.example.org.evil.example", "kafidx.example.org"),
        ("http://kafidx.example.org:81", "kafidx.example.org"),
        ("file://kafidx.example.org", "kafidx.example.org"),
    ],
)
def test_any_other_origin_is_not_the_same(origin: str, host: str) -> None:
    assert not _same_origin(origin, host)
