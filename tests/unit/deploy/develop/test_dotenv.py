import stat
from pathlib import Path

import pytest

from deploy.develop.dotenv import generate, read_dotenv, report

TEMPLATE = """\
# Where Redis is.
REDIS_URL=redis://127.0.0.1:6379/0
# A password; <generate> in a comment stays.
ADMIN_PASSWORD=<generate>
MONGO_URL=mongodb://push:<generate>@127.0.0.1/push
#OPTIONAL=off
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / ".env.template"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def never_asked(question: str) -> str:
    pytest.fail(f"asked: {question}")


def test_every_secret_is_generated_and_comments_are_kept(template: Path, target: Path) -> None:
    generate(yes=True, template=template, target=target, ask=never_asked)
    values = read_dotenv(target)
    assert values["REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert len(values["ADMIN_PASSWORD"]) >= 40
    assert "<generate>" not in values["MONGO_URL"]
    assert values["ADMIN_PASSWORD"] not in values["MONGO_URL"]
    assert "# A password; <generate> in a comment stays.\n" in target.read_text()
    assert "OPTIONAL" not in values


def test_dotenv_is_readable_by_its_owner_only(template: Path, target: Path) -> None:
    generate(yes=True, template=template, target=target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_existing_file_gets_only_missing_variables_with_yes(template: Path, target: Path) -> None:
    target.write_text("# mine\nADMIN_PASSWORD=old secret\nOWN=1")
    result = generate(yes=True, template=template, target=target, ask=never_asked)
    assert target.read_text().startswith("# mine\nADMIN_PASSWORD=old secret\nOWN=1\nREDIS_URL=")
    assert result.added == ("REDIS_URL", "MONGO_URL")
    assert report(result) == ".env kept (2 variables); added REDIS_URL, MONGO_URL."


def test_complete_file_is_not_changed(template: Path, target: Path) -> None:
    generate(yes=True, template=template, target=target)
    before = target.read_bytes()
    result = generate(yes=True, template=template, target=target)
    assert target.read_bytes() == before
    assert report(result) == ".env unchanged: it has all 3 variables."


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_values_are_kept_unless_the_reply_is_yes(template: Path, target: Path, answer: str) -> None:
    target.write_text("ADMIN_PASSWORD=old\n")
    generate(yes=False, template=template, target=target, ask=lambda _: answer)
    assert read_dotenv(target)["ADMIN_PASSWORD"] == "old"


def test_replaced_file_is_kept_as_a_backup(template: Path, target: Path) -> None:
    target.write_text("ADMIN_PASSWORD=old\n")
    generate(yes=False, template=template, target=target, ask=lambda _: "y")
    assert read_dotenv(target)["ADMIN_PASSWORD"] != "old"
    assert read_dotenv(target.with_name(".env.old")) == {"ADMIN_PASSWORD": "old"}


def test_report_contains_no_secret(template: Path, target: Path) -> None:
    result = generate(yes=True, template=template, target=target)
    assert read_dotenv(target)["ADMIN_PASSWORD"] not in f"{result} {report(result)}"


def test_quotes_exports_and_equals_signs_are_parsed(target: Path) -> None:
    target.write_text("A='x y'\nexport B=\"q\"\nC=a=b\n# D=1\nnonsense\n")
    assert read_dotenv(target) == {"A": "x y", "B": "q", "C": "a=b"}
