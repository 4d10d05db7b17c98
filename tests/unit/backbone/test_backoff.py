from hypothesis import given
from hypothesis import strategies as st

from services.backbone.backoff import Backoff


@given(st.integers(0, 100))
def test_pause_doubles_up_to_the_limit_with_jitter(failures: int) -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    for _ in range(failures):
        backoff.next_s()
    full_s = min(5.0, 0.1 * 2.0**failures)
    assert full_s / 2 <= backoff.next_s() <= full_s


def test_pause_is_the_first_again_after_a_success() -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1
