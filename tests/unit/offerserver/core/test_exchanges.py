import datetime as dt

import pytest

from services.offerserver.core.exchanges import (
    HttpExchange,
    Validators,
    origin_of,
    redirect_of,
    retry_after_s,
    shown_headers,
    wait_after_s,
)

NOW = dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        (" 86400 ", 86_400.0),
        ("Mon, 23 Nov 2026 10:01:00 GMT", 60.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 10:01:00 -0000", 60.0),
        ("soon", 0.0),
        ("", 0.0),
        ("-5", 0.0),
        ("Mon, 01 Jan 2024 00:00:00 +" + "9" * 20, 0.0),
        ("Mon, 01 Jan " + "9" * 20 + " 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert retry_after_s(text, NOW) == seconds


def test_redirect_may_be_relative() -> None:
    assert redirect_of("https://a.example/b/c?x=1", 302, "../d") == "https://a.example/d"
    assert redirect_of("http://a.example/", 302, "//b.example/x") == "http://b.example/x"
    assert redirect_of("http://a.example/", 302, "https://b.example/") == "https://b.example/"


@pytest.mark.parametrize(("status", "location"), [(200, "/x"), (304, "/x"), (302, "")])
def test_other_responses_are_no_redirects(status: int, location: str) -> None:
    assert redirect_of("https://a.example/", status, location) is None


@pytest.mark.parametrize("location", ["http://a.example/", "file:///etc/passwd", "javascript:x"])
def test_redirect_from_https_to_another_scheme_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="another scheme"):
        redirect_of("https://a.example/", 302, location)


def test_headers_of_a_run_have_no_cookies() -> None:
    found = shown_headers({"ETag": '"1"', "Set-Cookie": "session=1", "Server": "x" * 1_000})
    assert found == {"etag": '"1"', "server": "x" * 300}


def test_validators_become_a_conditional_request() -> None:
    exchange = HttpExchange(url="https://a.example/", headers={"etag": 'W/"1"', "last-modified": "yesterday"})
    assert exchange.validators.request_headers == {"If-None-Match": 'W/"1"', "If-Modified-Since": "yesterday"}
    assert Validators().request_headers == {}


def test_origin_has_scheme_host_and_port() -> None:
    assert origin_of("HTTPS://A.example:8443/b?c") == "https://a.example:8443"


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"), [(429, "", 30.0), (429, "soon", 30.0), (429, "7", 7.0), (503, "", 0.0)]
)
def test_too_many_requests_without_a_time_ask_for_half_a_minute(status: int, retry_after: str, seconds: float) -> None:
    assert wait_after_s(status, retry_after, NOW) == seconds
