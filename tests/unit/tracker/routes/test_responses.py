import pytest

from services.tracker.routes import responses


def test_image_is_a_gif_of_43_bytes() -> None:
    assert len(responses.GIF) == 43
    assert responses.GIF.startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        (b"content-type, x-id", b"content-type, x-id"),
        (b"", b"*"),
        (b"a\r\nset-cookie: x", b"*"),
        (b"x" * 2000, b"*"),
    ],
)
def test_preflight_response_allows_requested_header_names(requested: bytes, allowed: bytes) -> None:
    assert dict(responses.preflight_headers(requested))[b"access-control-allow-headers"] == allowed
