import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import namespace

ROOT = Path(__file__).parents[3]
TASKS = namespace.task_names


def push(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tasks.py", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (["tset"], "Did you mean test?"),
        (["dotenv.genrate"], "Did you mean dotenv.generate?"),
        (["test", "--kafak=tansu"], "Did you mean --kafka?"),
        (["xyzzy"], "`python3 tasks.py --list` lists all tasks."),
    ],
)
def test_misspelt_name_is_reported_with_the_most_similar_one(wrong: list[str], hint: str) -> None:
    done = push(*wrong)
    assert done.returncode != 0
    assert hint in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["dead.list", "--limit", "abc"], "--limit abc: not a number"),
        (["dead.list", "--limit=abc"], "--limit=abc: not a number"),
        (["kubernetes.spin.up", "--patience", "x"], "--patience x: not a number"),
        (["demo", "--once", "--log"], "--log needs a value"),
        (["demo", "--json"], "--json needs --once: demo --once --log FILE --json"),
    ],
)
def test_invalid_flag_is_reported_in_one_line(wrong: list[str], message: str) -> None:
    done = push(*wrong)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).strip() == message


@pytest.mark.parametrize(
    "task",
    [
        ["status"],
        ["dead.list"],
        ["dead.replay"],
        ["erase", "--id", "a device", "--yes"],
        ["send", "--log", "tests/examples/access.log"],
    ],
)
@pytest.mark.parametrize("variable", ["REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "TRACKER_PORT"])
def test_malformed_address_is_one_line_in_every_task_that_reads_it(
    task: list[str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nonsense")
    done = push(*task)
    assert done.returncode == 1
    assert re.fullmatch(rf"{variable}: .+\. Correct it in the environment or in \.env\.\n", done.stdout + done.stderr)


def test_malformed_size_stops_erasing_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_EVENT_BYTES", "nonsense")
    done = push("erase", "--id", "a device", "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("MAX_EVENT_BYTES: ")


def test_without_a_task_all_tasks_are_listed_from_any_directory(tmp_path: Path) -> None:
    done = push(cwd=tmp_path)
    assert done.returncode == 0
    for name in TASKS:
        assert name in done.stdout


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_summary_of_one_line(name: str) -> None:
    assert re.fullmatch(r"[A-Z].{15,110}\.", str(namespace[name].__doc__).splitlines()[0])


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_has_a_help_text(name: str) -> None:
    for argument in namespace[name].get_arguments():
        assert argument.help, f"{name} --{argument.name}"


@pytest.mark.parametrize("words", [["offers.check", "--help"], ["offers.check", "-h"], ["--help", "offers.check"]])
def test_help_of_a_task_with_an_argument_is_shown(words: list[str]) -> None:
    done = push(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the YAML file of a source" in done.stdout
