import pytest

from deploy.errors import OperatorError
from deploy.operate.endpoints import Endpoints
from deploy.operate.erase import UNTOUCHED, forget

NOWHERE = Endpoints("http://127.0.0.1:1", ("redis://127.0.0.1:1/0",), "redis://127.0.0.1:1/0", "127.0.0.1:1")


def test_a_device_must_be_named() -> None:
    with pytest.raises(OperatorError, match="which device"):
        forget(NOWHERE, "", environ={}, yes=True)


@pytest.mark.parametrize(("typed", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_consent_is_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, goes_on: bool) -> None:  # noqa: FBT001 - a case
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(OperatorError, match="Redis does not answer" if goes_on else "nothing was done"):
        forget(NOWHERE, "device-7", environ={}, yes=False)
    assert "'device-7'" in asked[0]


def test_what_stays_is_told() -> None:
    assert any("retention" in line for line in UNTOUCHED)
    assert any("counters" in line for line in UNTOUCHED)
