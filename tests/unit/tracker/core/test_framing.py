import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.core.framing import head_error, split_target
from services.tracker.core.request import header_fields


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a/b?x=1?y", b"/a/b", b"x=1?y"),
        (b"/", b"/", b""),
        (b"//a//", b"//a//", b""),
        (b"*", b"/*", b""),
        (b"http://host.example:80/a/b?x", b"/a/b", b"x"),
        (b"http://host.example", b"/", b""),
        (b"http://host.example?x=/", b"/", b"x=/"),
        (b"/a#b?c", b"/a", b""),
        (b"/r?u=http://x/y", b"/r", b"u=http://x/y"),
        (b"", b"/", b""),
    ],
)
def test_target_is_split_into_path_and_query(target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(target) == (path, query)


@given(st.binary())
def test_any_target_gives_a_path(target: bytes) -> None:
    assert split_target(target)[0].startswith(b"/")


def status_of(version: str, *headers: tuple[bytes, bytes]) -> int | None:
    error = head_error(version, headers, header_fields(headers))
    return None if error is None else error.status


def test_head_with_one_host_is_accepted() -> None:
    assert status_of("1.1", (b"host", b"x")) is None
    assert status_of("1.1", (b"a", b"1"), (b"host", b"x"), (b"a", b"2")) is None
    assert status_of("1.0") is None
    assert status_of("1.1", (b"host", b"x"), (b"transfer-encoding", b" Chunked\t")) is None


@pytest.mark.parametrize("version", ["0.0", "0.9", "1.2", "2.0", "9.9"])
def test_other_version_is_refused(version: str) -> None:
    assert status_of(version, (b"host", b"x")) == 505


@pytest.mark.parametrize("host", [b"", b"x", b"x.example", b"x_y", b"1.2.3.4:80", b"[::1]", b"[::1]:80", b"%41", b"x:"])
def test_valid_host_is_accepted(host: bytes) -> None:
    assert status_of("1.1", (b"host", host)) is None
    assert status_of("1.1", (b"host", b" " + host + b"\t")) is None


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b", b"a?b", b"a#b", b"[::1", b"::1", b"a:b", b"\xff", b"a\n"])
@pytest.mark.parametrize("length", [1, 400])
def test_invalid_host_is_refused(host: bytes, length: int) -> None:
    assert status_of("1.1", (b"host", b"x" * length)) is None
    assert status_of("1.1", (b"host", b"x" * length + host)) == 400


@given(st.lists(st.sampled_from([b"gzip", b"chunked", b"identity", b"", b"x y"]), max_size=4), st.integers(0, 3))
def test_only_chunked_alone_is_accepted(codings: list[bytes], first_line: int) -> None:
    lines = [b", ".join(part) for part in (codings[:first_line], codings[first_line:]) if part]
    headers = [(b"host", b"x"), *((b"transfer-encoding", line) for line in lines)]
    expected = None if codings in ([], [b"chunked"]) else 400
    if len(codings) > 1 and codings[-1] == b"chunked" and set(codings[:-1]) <= {b"gzip", b"identity"}:
        expected = 501
    assert status_of("1.1", *headers) == expected
