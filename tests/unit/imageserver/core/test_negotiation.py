import pytest

from services.imageserver.core.negotiation import choose_type
from services.imageserver.core.sizes import ImageType

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, "webp"),
        ("image/webp", "webp"),
        ("IMAGE/WEBP;Q=0.5", "webp"),
        ("*/*", "jpg"),
        ("image/*", "jpg"),
        ("", "jpg"),
        ("text/html", "jpg"),
        ("image/webp;q=0", "jpg"),
        ("image/webp;q=0.5, image/jpeg", "jpg"),
        ("image/webp, image/jpeg", "webp"),
        ("image/webp;q=x", "jpg"),
        (",;,;q=,", "jpg"),
    ],
)
def test_webp_is_chosen_only_by_name(accept: str, expected: ImageType) -> None:
    assert choose_type(accept, ("jpg", "webp")) == expected


def test_transparent_picture_is_a_png_for_other_clients() -> None:
    assert choose_type("image/jpeg", ("png", "webp")) == "png"
    assert choose_type(CHROME, ("png", "webp")) == "webp"
