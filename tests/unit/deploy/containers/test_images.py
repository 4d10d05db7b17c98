from pathlib import Path

import pytest

from deploy.containers import engine, images
from deploy.errors import OperatorError


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A .env of the test's own."""
    monkeypatch.delenv("PUSH_VERSION", raising=False)
    monkeypatch.delenv("IMAGE_REGISTRY", raising=False)
    monkeypatch.setattr(engine, "DOTENV", tmp_path / ".env")
    return tmp_path / ".env"


def test_a_tag_is_the_shells_else_that_of_dotenv_else_dev(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.reference("tracker") == "push/tracker:dev"
    settings.write_text("PUSH_VERSION=1.2\n")
    assert images.reference("tracker") == "push/tracker:1.2"
    monkeypatch.setenv("PUSH_VERSION", "1.3")
    assert images.reference("tracker") == "push/tracker:1.3"


def test_a_tag_that_no_image_can_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_VERSION", "v1/2")
    with pytest.raises(OperatorError, match="PUSH_VERSION=v1/2: a tag has letters"):
        images.build("")


def test_an_unknown_service_is_told_with_those_there_are() -> None:
    with pytest.raises(
        OperatorError, match=r"--service nope: it is one of canary, consumers, .*operator, topics, tracker"
    ):
        images.build("nope")


def test_pushing_wants_a_registry() -> None:
    with pytest.raises(OperatorError, match=r"Which registry\? --registry HOST"):
        images.push("", "")


@pytest.mark.parametrize("registry", ["https://registry.example.org", "registry.example.org:port", "a b"])
def test_a_registry_is_a_host_and_perhaps_a_folder(registry: str) -> None:
    with pytest.raises(OperatorError, match="is no registry: it is a host"):
        images.push(registry, "")


def test_a_registry_may_come_from_dotenv(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text("IMAGE_REGISTRY=registry.example.org:5000/push\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="Docker is not installed"):
        images.push("", "tracker")
