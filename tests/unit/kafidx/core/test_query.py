import pytest

from services.kafidx.core.filters import Filter
from services.kafidx.core.positions import Start
from services.kafidx.core.query import BadQuery, parse_condition, parse_start, parse_view


def test_empty_query_shows_everything_from_the_end() -> None:
    view = parse_view("")
    assert (view.filter, view.start, view.session, view.reset) == (Filter(), None, None, False)
    assert view.filter.matches_everything
    assert parse_view("type=&device=&text=&where=&bot=&from=&gid=").filter.matches_everything


def test_repeated_and_comma_separated_choices_are_equal() -> None:
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
def test_session_with_another_form_of_name_is_refused(gid: str) -> None:
    with pytest.raises(BadQuery) as error:
        parse_view(f"gid={gid.replace(chr(10), '%0A')}")
    assert error.value.parameter == "gid"


def test_reset_starts_at_the_beginning_unless_the_query_has_a_start() -> None:
    assert parse_view("gid=kafidx-0a1b2-7&reset=1").start == Start("beginning")
    assert parse_view("gid=kafidx-0a1b2-7&reset=1&from=end").start == Start("end")


@pytest.mark.parametrize(
    "query", ["text=a&text=b", "from=end&from=end", "type=" + "a," * 150, "&".join(["where=a=1"] * 20)]
)
def test_query_with_repeated_or_too_many_values_is_refused(query: str) -> None:
    with pytest.raises(BadQuery):
        parse_view(query)


def test_query_above_the_length_limit_is_refused() -> None:
    with pytest.raises(BadQuery) as error:
        parse_view("text=" + "x" * 20_000)
    assert error.value.parameter == "query"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("end", Start("end")),
        ("beginning", Start("beginning")),
        ("last:20", Start("last", 20)),
        ("offset:0:12,3:4", Start("offset", offsets={0: 12, 3: 4})),
        ("time:1764000000000", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T16:00:00Z", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T17:00:00+01:00", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T16:00:00", Start("time", 1_764_000_000_000)),
    ],
)
def test_start_is_parsed(text: str, start: Start) -> None:
    assert parse_start(text) == start


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("End", 0),
        ("end:", 3),
        ("end:1", 3),
        ("last", 5),
        ("last:-1", 5),
        ("last:1e3", 5),
        ("last:9999999", 5),
        ("offset", 7),
        ("offset:0", 8),
        ("offset:0:", 9),
        ("offset:0:1,", 11),
        ("offset:x:1", 7),
        ("time:", 5),
        ("offset:0:99999999999999999999", 9),
        ("time:12:00", 5),
        ("time:99999999999999999999", 5),
        ("last:٣", 5),
    ],
)
def test_invalid_start_is_refused_with_the_position_of_the_error(text: str, position: int) -> None:
    with pytest.raises(BadQuery) as error:
        parse_start(text)
    assert (error.value.parameter, error.value.position) == ("from", position)


@pytest.mark.parametrize(
    ("condition", "position"),
    [
        ("", 0),
        ("   ", 3),
        ("klag", 4),
        ("klag 5", 5),
        ("= 5", 0),
        ("klag > x", 7),
        ("klag >", 6),
        ("klag < 1_0", 7),
        ("city ~ ", 7),
        ("params. = 1", 7),
        ("a = " + "x" * 201, 204),
        ("x" * 500, 400),
        ("klag > nan", 7),
    ],
)
def test_invalid_condition_is_refused_with_the_position_of_the_error(condition: str, position: int) -> None:
    with pytest.raises(BadQuery) as error:
        parse_condition(condition)
    assert (error.value.parameter, error.value.position, error.value.value) == ("where", position, condition)
