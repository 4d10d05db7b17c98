import msgspec
import pytest

from deploy.errors import OperatorError
from deploy.operate.endpoints import Endpoints
from deploy.operate.erase import UNTOUCHED, belongs_to, erase
from services.backbone.events import encode_raw
from tests.raw_event import RAW

REDIS = "redis://127.0.0.1:1/0"
NOWHERE = Endpoints("http://127.0.0.1:1", (REDIS,), REDIS, "127.0.0.1:1", actions_url=REDIS)


def test_missing_device_id_is_rejected() -> None:
    with pytest.raises(OperatorError, match="--id is missing"):
        erase(NOWHERE, "", environ={}, yes=True)


@pytest.mark.parametrize(("typed", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_erase_asks_for_confirmation_on_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, goes_on: bool) -> None:  # noqa: FBT001 - a case
    asked: list[str] = []

    def response(question: str) -> str:
        asked.append(question)
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", response)
    with pytest.raises(OperatorError, match="Redis at .* does not respond" if goes_on else "nothing was erased"):
        erase(NOWHERE, "device-7", environ={}, yes=False)
    assert "'device-7'" in asked[0]


def test_data_that_is_not_erased_is_printed() -> None:
    assert any("retention" in line for line in UNTOUCHED)
    assert any("counters" in line for line in UNTOUCHED)


@pytest.mark.parametrize(
    ("query", "device_id", "found"),
    [
        (b"di=device-7", "device-7", True),
        (b"di=device-7", "device", False),
        (b"di=caf\xc3\xa9+1", "café 1", True),
        (b"other=device-7", "device-7", False),
        (b"di=a&di=device-7", "device-7", False),
        (b"", "device-7", False),
    ],
)
def test_decodable_entry_matches_the_device_in_its_query(query: bytes, device_id: str, found: bool) -> None:  # noqa: FBT001 - a case
    assert belongs_to(encode_raw(msgspec.structs.replace(RAW, query=query)), device_id) is found


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (b"\x02 some later version di=caf\xc3\xa9/1", True),
        (b"garbage di=caf%C3%A9%2F1", True),
        (b"garbage di=caf%c3%a9%2f1&x", True),
        (b"garbage di=cafe/1", False),
        (b"", False),
    ],
)
def test_undecodable_entry_matches_device_when_it_contains_the_id(entry: bytes, found: bool) -> None:  # noqa: FBT001 - a case
    assert belongs_to(entry, "café/1") is found
