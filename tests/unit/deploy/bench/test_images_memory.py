import pytest

from deploy.bench.images_memory import MemoryGrowth, measure_growth, parse_uploads
from deploy.errors import OperatorError


def test_memory_is_measured_after_the_first_thousand_and_after_all_uploads() -> None:
    sent: list[int] = []

    def upload(number: int) -> float:
        sent.append(number)
        return 100.0 + len(sent)

    assert measure_growth(upload, 10_000) == MemoryGrowth(10_000, 101.0, 102.0)
    assert sent == [1_000, 9_000]


def test_memory_may_grow_by_a_tenth() -> None:
    assert MemoryGrowth(2_000, 100.0, 110.0).is_met
    assert MemoryGrowth(2_000, 100.0, 90.0).is_met
    grown = MemoryGrowth(2_000, 100.0, 111.0)
    assert not grown.is_met
    assert str(grown) == "memory after 1,000 uploads: 100 MB, after 2,000: 111 MB (+11.0 %, at most +10 %: missed)"


@pytest.mark.parametrize("text", ["0", "2000", "10000"])
def test_number_of_uploads_is_parsed(text: str) -> None:
    assert parse_uploads(text) == int(text)


@pytest.mark.parametrize("text", ["", "x", "-1", "1999", "1000001", "1e4"])
def test_number_of_uploads_out_of_range_is_rejected_with_the_range(text: str) -> None:
    with pytest.raises(OperatorError, match="2000 to 1000000"):
        parse_uploads(text)
