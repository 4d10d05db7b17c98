import pytest

from deploy.errors import OperatorError
from deploy.operate.endpoints import Endpoints
from deploy.operate.erase import UNTOUCHED, erase

NOWHERE = Endpoints("http://127.0.0.1:1", ("redis://127.0.0.1:1/0",), "redis://127.0.0.1:1/0", "127.0.0.1:1")


def test_missing_device_id_is_rejected() -> None:
    with pytest.raises(OperatorError, match="--id is missing"):
        erase(NOWHERE, "", environ={}, yes=True)


@pytest.mark.parametrize(("typed", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_erase_asks_for_confirmation_on_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, goes_on: bool) -> None:  # noqa: FBT001 - a case
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(OperatorError, match="Redis at .* does not respond" if goes_on else "nothing was erased"):
        erase(NOWHERE, "device-7", environ={}, yes=False)
    assert "'device-7'" in asked[0]


def test_data_that_is_not_erased_is_printed() -> None:
    assert any("retention" in line for line in UNTOUCHED)
    assert any("counters" in line for line in UNTOUCHED)
