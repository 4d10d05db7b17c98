from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import Counter
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from services.backbone.pages.guard import Guard, role_of
from services.backbone.pages.logins import Login, Logins

OPEN = "/static/push.0123456789ab.css"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of a guarded application."""
    by_role = {"operator": Login(b"me", b"secret"), "app": Login(b"phone", b"shared")}
    logins = Logins("toy", by_role, Counter("refused", "Refused requests", ("reason",), registry=None))
    guard = Guard(PlainTextResponse("reached"), logins, roles={"operator"}, open_paths={OPEN})
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


async def test_user_of_another_role_opens_no_page_and_is_no_failure(client: httpx.AsyncClient) -> None:
    for _ in range(10):
        assert (await client.get("/", auth=httpx.BasicAuth("phone", "shared"))).status_code == 401
    assert (await client.get("/", auth=httpx.BasicAuth("me", "secret"))).status_code == 200


async def test_application_sees_the_role_of_a_request() -> None:
    async def show_role(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(str(role_of(scope)))(scope, receive, send)

    by_role = {"service": Login(b"me", b"secret"), "app": Login(b"phone", b"shared")}
    logins = Logins("toy", by_role, Counter("refused", "Refused requests", ("reason",), registry=None))
    guard = Guard(show_role, logins, roles=by_role)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://toy.example") as client:
        assert (await client.get("/", auth=httpx.BasicAuth("phone", "shared"))).text == "app"
        assert (await client.get("/", auth=httpx.BasicAuth("me", "secret"))).text == "service"
