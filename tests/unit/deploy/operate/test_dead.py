from deploy.operate.dead import make_plan
from deploy.operate.dead_letters import DeadLetterFilter, DeadLetterSummary

NOW_MS = 1_764_000_000_000


def letter(
    offset: int, content: bytes, *, time_ms: int = NOW_MS, reason: str = "bad", event_type: str = "view"
) -> DeadLetterSummary:
    digest = b"%s at %d" % (content, time_ms)
    return DeadLetterSummary(0, offset, time_ms, "enrich", reason, "1", event_type, "e", 1, digest, content)


def test_matching_letters_are_put_back() -> None:
    dead_letters = [letter(0, b"a"), letter(1, b"b", event_type="other"), letter(2, b"c")]
    plan = make_plan(dead_letters, DeadLetterFilter(type="view"), frozenset())
    assert plan.due == [dead_letters[0], dead_letters[2]]
    assert (plan.duplicates, plan.cut, plan.replayed) == ([], [], 0)


def test_replayed_letter_is_not_put_back_again() -> None:
    dead_letters = [letter(0, b"a"), letter(1, b"b")]
    plan = make_plan(dead_letters, DeadLetterFilter(), frozenset((dead_letters[0].digest,)))
    assert plan.due == [dead_letters[1]]
    assert plan.replayed == 1


def test_entry_that_failed_again_is_put_back_again() -> None:
    first, again = letter(0, b"a"), letter(1, b"a", time_ms=NOW_MS + 5)
    plan = make_plan([first, again], DeadLetterFilter(), frozenset((first.digest,)))
    assert (plan.due, plan.duplicates) == ([again], [])


def test_other_letters_of_an_entry_are_duplicates_even_when_the_filter_excludes_them() -> None:
    first, second, third = (letter(n, b"a", time_ms=NOW_MS + n) for n in range(3))
    plan = make_plan([first, second, third], DeadLetterFilter(since_ms=NOW_MS + 1), frozenset())
    assert plan.due == [second]
    assert plan.duplicates == [first, third]


def test_truncated_letter_is_not_put_back() -> None:
    cut = letter(0, b"a", reason="too large (cut from 9 bytes)")
    plan = make_plan([cut, letter(1, b"b")], DeadLetterFilter(reason="too large"), frozenset())
    assert (plan.due, plan.cut) == ([], [cut])
