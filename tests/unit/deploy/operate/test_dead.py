from deploy.operate.dead import make_plan, without_password
from deploy.operate.dead_letters import DeadLetterFilter, DeadLetterSummary

NOW_MS = 1_764_000_000_000


def letter(
    offset: int, content: bytes, *, time_ms: int = NOW_MS, reason: str = "bad", event_type: str = "view"
) -> DeadLetterSummary:
    digest = b"%s at %d" % (content, time_ms)
    return DeadLetterSummary(0, offset, time_ms, "enrich", reason, "1", event_type, "e", 1, digest, content)


def test_what_is_meant_goes_back() -> None:
    letters = [letter(0, b"a"), letter(1, b"b", event_type="other"), letter(2, b"c")]
    plan = make_plan(letters, DeadLetterFilter(type="view"), frozenset())
    assert plan.due == [letters[0], letters[2]]
    assert (plan.copies, plan.cut, plan.replayed) == ([], [], 0)


def test_what_went_back_does_not_go_again() -> None:
    letters = [letter(0, b"a"), letter(1, b"b")]
    plan = make_plan(letters, DeadLetterFilter(), frozenset((letters[0].digest,)))
    assert plan.due == [letters[1]]
    assert plan.replayed == 1


def test_an_entry_that_died_again_goes_back_again() -> None:
    first, again = letter(0, b"a"), letter(1, b"a", time_ms=NOW_MS + 5)
    plan = make_plan([first, again], DeadLetterFilter(), frozenset((first.digest,)))
    assert (plan.due, plan.copies) == ([again], [])


def test_letters_of_one_entry_are_copies_whether_they_are_meant_or_not() -> None:
    first, second, third = (letter(n, b"a", time_ms=NOW_MS + n) for n in range(3))
    plan = make_plan([first, second, third], DeadLetterFilter(since_ms=NOW_MS + 1), frozenset())
    assert plan.due == [second]
    assert plan.copies == [first, third]


def test_what_was_cut_stays_where_it_is() -> None:
    cut = letter(0, b"a", reason="too large (cut from 9 bytes)")
    plan = make_plan([cut, letter(1, b"b")], DeadLetterFilter(reason="too large"), frozenset())
    assert (plan.due, plan.cut) == ([], [cut])


def test_a_password_is_never_shown() -> None:
    assert without_password("redis://user:secret@host:6379/0") == "redis://host:6379/0"
