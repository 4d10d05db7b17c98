import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imageserver.core.sizes import centre_square, fitted, parse_size

SIDES = st.integers(1, 65_535)


@pytest.mark.parametrize("name", ["original", "thumb", "icon", "iconbigger"])
def test_known_size_is_found(name: str) -> None:
    assert parse_size(name) == name


@pytest.mark.parametrize("name", ["", "Thumb", "large", "thumb "])
def test_other_size_is_unknown(name: str) -> None:
    assert parse_size(name) is None


@given(SIDES, SIDES)
def test_fitted_picture_keeps_its_shape_and_has_no_long_side(width: int, height: int) -> None:
    found = fitted(width, height)
    assert min(found) >= 1
    assert max(found) <= 2_560
    if max(width, height) <= 2_560:
        assert found == (width, height)
    else:
        assert max(found) == 2_560
        assert abs(found[0] * height - found[1] * width) <= max(width, height)


@given(SIDES, SIDES)
def test_square_is_the_largest_one_in_the_middle(width: int, height: int) -> None:
    left, top, right, bottom = centre_square(width, height)
    assert right - left == bottom - top == min(width, height)
    assert left == width - right
    assert top == height - bottom
