import pytest

from services.kafidx.core.errors import BadQuery
from services.kafidx.core.filters import Filter
from services.kafidx.core.positions import Start
from services.kafidx.core.view import parse_view


def test_nothing_asked_is_everything_from_now_on() -> None:
    view = parse_view("")
    assert (view.filter, view.start, view.session, view.reset) == (Filter(), None, None, False)
    assert view.filter.shows_everything
    assert parse_view("type=&device=&text=&where=&bot=&from=&gid=").filter.shows_everything


def test_repeated_and_comma_separated_choices_are_the_same() -> None:
    assert parse_view("type=a,b&filter=c").filter == parse_view("type=a&type=+b+,,c").filter
    assert parse_view("type=a").filter.types == {"a"}


@pytest.mark.parametrize(
    "gid",
    [
        "event_counter",
        "kafidx-0a1b2-",
        "kafidx-0a1b2-1234",
        "kafidx-0A1B2-1",
        "xkafidx-0a1b2-1",
        "kafidx-0a1b2-1\n",
        "kafidx-0a1b2-٣",
    ],
)
def test_a_session_has_a_name_that_no_group_has(gid: str) -> None:
    with pytest.raises(BadQuery) as fault:
        parse_view(f"gid={gid.replace(chr(10), '%0A')}")
    assert fault.value.parameter == "gid"


def test_reset_begins_at_the_beginning_unless_told_where() -> None:
    assert parse_view("gid=kafidx-0a1b2-7&reset=1").start == Start("beginning")
    assert parse_view("gid=kafidx-0a1b2-7&reset=1&from=end").start == Start("end")


@pytest.mark.parametrize(
    "query", ["text=a&text=b", "from=end&from=end", "type=" + "a," * 150, "&".join(["where=a=1"] * 20)]
)
def test_too_much_is_refused(query: str) -> None:
    with pytest.raises(BadQuery):
        parse_view(query)


def test_a_query_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadQuery) as fault:
        parse_view("text=" + "x" * 20_000)
    assert fault.value.parameter == "query"
