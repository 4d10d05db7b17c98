import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.routes.protocol import split_target


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
def test_a_target_is_split_into_path_and_query(target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(target) == (path, query)


@given(st.binary())
def test_any_target_has_a_path(target: bytes) -> None:
    assert split_target(target)[0].startswith(b"/")
