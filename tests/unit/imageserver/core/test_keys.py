import pytest

from services.imageserver.core.keys import image_path, is_digest, parse_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ab" * 32, "ab" * 32),
        ("AB" * 32, "ab" * 32),
        ("1" * 64, "1" * 64),
        ("4711", "4711"),
        ("007", "007"),
        ("", None),
        ("ab" * 31, None),
        ("xy" * 32, None),
        ("1" * 19, None),
        ("٤٧", None),
        ("12\n", None),
    ],
)
def test_key_is_64_hexadecimal_digits_or_a_number(text: str, key: str | None) -> None:
    assert parse_key(text) == key
    assert is_digest(text) == (key is not None and len(key) == 64)


def test_path_is_that_of_the_old_system() -> None:
    assert image_path("4711") == "/assets/images/4711"
