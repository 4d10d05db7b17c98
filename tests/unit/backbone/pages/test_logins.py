from typing import Any

import pytest
from prometheus_client import Counter

from services.backbone.pages.logins import Login, Logins, Refusal, _host_of, _same_origin

BY_ROLE = {"service": Login(b"storage", b"secret"), "app": Login(b"app", b"shared")}


def logins(by_role: dict[str, Login]) -> Logins:
    return Logins("toy", by_role, Counter("refused", "Refused requests", ("reason",), registry=None))


def request(authorization: str = "", host: str = "toy.example", **headers: str) -> dict[str, Any]:
    given = {"host": host, "authorization": authorization, **headers}
    encoded = [(name.encode(), value.encode()) for name, value in given.items() if value]
    return {"type": "http", "method": "GET", "headers": encoded, "client": ("192.0.2.1", 1)}


@pytest.mark.parametrize(
    ("authorization", "role"), [("Basic c3RvcmFnZTpzZWNyZXQ=", "service"), ("basic YXBwOnNoYXJlZA==", "app")]
)
def test_login_has_its_role(authorization: str, role: str) -> None:
    assert logins(BY_ROLE).role_of(request(authorization)) == role


def test_password_of_another_role_is_wrong_and_delays_all_roles() -> None:
    each = logins(BY_ROLE)
    mixed = request("Basic c3RvcmFnZTpzaGFyZWQ=")  # storage:shared
    reasons = [found.reason for _ in range(6) if isinstance(found := each.role_of(mixed), Refusal)]
    assert reasons == ["password"] * 5 + ["delayed"]
    right = each.role_of(request("Basic YXBwOnNoYXJlZA=="))
    assert isinstance(right, Refusal)
    assert (right.status, right.headers) == (429, {"Retry-After": "1"})


def test_service_without_logins_is_open_on_loopback_names_only() -> None:
    assert logins({}).role_of(request(host="127.0.0.1:5011")) is None
    refusal = logins({}).role_of(request(host="evil.example"))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.reason) == (403, "host")


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
