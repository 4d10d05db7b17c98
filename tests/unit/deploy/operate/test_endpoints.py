import json
from pathlib import Path

import pytest

from deploy.errors import OperatorError
from deploy.operate.endpoints import Endpoints, announce, environment, find, without_password

DEMO = Endpoints(
    "http://127.0.0.1:40001", ("redis://127.0.0.1:40002/0",), "redis://127.0.0.1:40002/0", "127.0.0.1:40003"
)


def test_running_system_is_found_until_it_ends(tmp_path: Path) -> None:
    with announce(DEMO, folder=tmp_path):
        assert find({}, folder=tmp_path, dotenv=tmp_path / ".env") == DEMO
    assert find({}, folder=tmp_path, dotenv=tmp_path / ".env").bootstrap_servers == "127.0.0.1:9092"


def test_latest_of_several_systems_is_found(tmp_path: Path) -> None:
    later = DEMO._replace(tracker_url="http://127.0.0.1:40009")
    with announce(DEMO, folder=tmp_path):
        with announce(later, folder=tmp_path):
            assert find({}, folder=tmp_path, dotenv=tmp_path / ".env") == later
        assert find({}, folder=tmp_path, dotenv=tmp_path / ".env") == DEMO


def test_storage_of_a_running_system_is_found(tmp_path: Path) -> None:
    with_storage = DEMO._replace(storage_internal_url="http://127.0.0.1:40004")
    with announce(with_storage, folder=tmp_path):
        assert find({}, folder=tmp_path, dotenv=tmp_path / ".env") == with_storage


def test_announcement_of_a_dead_process_is_ignored(tmp_path: Path) -> None:
    beyond_any_pid = 2**22 + 1
    (tmp_path / "1.json").write_text(json.dumps({"pid": beyond_any_pid, "endpoints": DEMO}))
    (tmp_path / "2.json").write_text("cut sho")
    assert find({}, folder=tmp_path, dotenv=tmp_path / ".env") != DEMO
    assert not list(tmp_path.iterdir())


def test_shell_variables_take_precedence_over_a_running_demo(tmp_path: Path) -> None:
    with announce(DEMO, folder=tmp_path):
        found = find(
            {"REDIS_URL": "redis://r:1/0", "COUNTERS_REDIS_URL": "redis://c:1/0", "ACTIONS_REDIS_URL": "redis://a:1/0"},
            folder=tmp_path,
            dotenv=tmp_path / ".env",
        )
    expected = Endpoints("http://127.0.0.1:5222", ("redis://r:1/0",), "redis://c:1/0", "127.0.0.1:9092")
    assert found == expected._replace(actions_url="redis://a:1/0")


def test_dotenv_is_read_when_no_demo_runs_and_no_variable_is_set(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "COUNTERS_REDIS_URL=redis://c:1/0\nKAFKASTORE_REDIS_URLS=redis://a:1/0,redis://b:1/0\nTRACKER_PORT=\n"
    )
    found = find({}, folder=tmp_path / "none", dotenv=dotenv)
    assert found.queue_urls == ("redis://a:1/0", "redis://b:1/0")
    assert found.counters_url == "redis://c:1/0"
    assert found.tracker_url == "http://127.0.0.1:5222"


def test_shell_variables_take_precedence_over_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("A=from file\nB=from file\n")
    assert environment({"A": "from shell", "B": ""}, dotenv=dotenv) == {"A": "from shell"}


def test_without_password_hides_the_password() -> None:
    assert without_password("redis://user:secret@host:6379/0") == "redis://host:6379/0"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("REDIS_URL", "http://:hunter2@h", "must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "redis://:hunter2@h:99999/0", "is not a valid URL: its host or port is malformed"),
        ("REDIS_URL", "redis://:hunter2@h/abc", "must end with the number of a database, as in redis://host:6379/0"),
        ("COUNTERS_REDIS_URL", "hunter2", "must begin with redis://, rediss:// or unix://"),
        ("KAFKASTORE_REDIS_URLS", "redis://a:1/0,hunter2", "must begin with redis://, rediss:// or unix://"),
        ("KAFKASTORE_REDIS_URLS", ",", "has no entries between its commas"),
        ("KAFKA_BOOTSTRAP_SERVERS", "hunter2", "must be host:port, or several of them separated by commas"),
        ("TRACKER_PORT", "99999", "Input should be less than or equal to 65535"),
    ],
)
def test_malformed_variable_is_named_in_one_line_without_its_value(
    variable: str, value: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError) as error:
        find({variable: value}, folder=tmp_path, dotenv=tmp_path / ".env")
    assert str(error.value) == f"{variable}: {reason}. Correct it in the environment or in .env."


def test_each_malformed_variable_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as error:
        find({"REDIS_URL": "x", "TRACKER_PORT": "x"}, folder=tmp_path, dotenv=tmp_path / ".env")
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["REDIS_URL", "TRACKER_PORT"]


def test_dotenv_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"REDIS_URL=\xff\n")
    with pytest.raises(OperatorError, match="not UTF-8 text"):
        find({}, folder=tmp_path, dotenv=dotenv)
