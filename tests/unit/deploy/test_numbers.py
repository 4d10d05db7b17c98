import pytest

from deploy.errors import OperatorError
from deploy.numbers import positive_number


@pytest.mark.parametrize("text", ["0", "-5", "abc", "nan", "inf", ""])
def test_text_that_is_no_positive_number_is_rejected_with_its_name(text: str) -> None:
    with pytest.raises(OperatorError, match=f'VISITORS_RATE: invalid number "{text}"'):
        positive_number("VISITORS_RATE", text)


def test_positive_number_is_read() -> None:
    assert positive_number("--rate", "2.5") == 2.5
