import pytest

from services.backbone.pages.guard import _host_of, _same_origin


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
