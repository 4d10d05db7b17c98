from pathlib import Path

import pytest

from deploy.containers import engine, images
from deploy.errors import OperatorError


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A separate .env for the test."""
    monkeypatch.delenv("PUSH_VERSION", raising=False)
    monkeypatch.delenv("IMAGE_REGISTRY", raising=False)
    monkeypatch.setattr(engine, "DOTENV", tmp_path / ".env")
    return tmp_path / ".env"


def test_tag_comes_from_the_shell_else_from_dotenv_else_is_dev(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.reference("tracker") == "push/tracker:dev"
    settings.write_text("PUSH_VERSION=1.2\n")
    assert images.reference("tracker") == "push/tracker:1.2"
    monkeypatch.setenv("PUSH_VERSION", "1.3")
    assert images.reference("tracker") == "push/tracker:1.3"


def test_invalid_tag_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_VERSION", "v1/2")
    with pytest.raises(OperatorError, match="PUSH_VERSION=v1/2: invalid tag"):
        images.build("")


def test_unknown_service_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(
        OperatorError,
        match=r"--service nope: unknown service. Use one of canary, consumers, .*operator, .*tracker",
    ):
        images.build("nope")


def test_push_without_a_registry_is_rejected() -> None:
    with pytest.raises(OperatorError, match=r"--registry is missing: use --registry HOST"):
        images.push("", "")


@pytest.mark.parametrize("registry", ["https://registry.example.org", "registry.example.org:port", "a b"])
def test_invalid_registry_is_rejected(registry: str) -> None:
    with pytest.raises(OperatorError, match="invalid registry"):
        images.push(registry, "")


def test_registry_can_come_from_dotenv(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text("IMAGE_REGISTRY=registry.example.org:5000/push\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="Docker is not installed"):
        images.push("", "tracker")


def test_image_of_flower_is_built_only_when_it_is_asked_for() -> None:
    assert images.FLOWER not in images._wanted("")
    assert images._wanted("flower") == {"flower": "flower"}
