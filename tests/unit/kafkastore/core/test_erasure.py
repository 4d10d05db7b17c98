import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backbone.events import RawEvent, encode_params, encode_raw
from services.kafkastore.core.erasure import belongs_to, device_digest, device_of, is_erased

RAW = RawEvent(
    id="e1",
    received_at_ms=1_764_000_000_000,
    address="",
    host=b"",
    pod="",
    path=b"/view",
    query=b"di=device-7",
    user_agent=b"",
    referrer=b"",
)


def test_a_device_is_remembered_by_sixteen_bytes_that_differ() -> None:
    assert len(device_digest("device-7")) == 16
    assert len({device_digest(text) for text in ("device-7", "device-8", "", "é", "\udc80")}) == 5


@pytest.mark.parametrize(("params", "device"), [("di=a&di=b", "a"), ("d%69=%C3%A9", "é"), ("di=", None), ("x=1", None)])
def test_the_device_is_the_first_parameter_di_decoded(params: str, device: str | None) -> None:
    assert device_of(params) == device


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
def test_an_entry_that_can_be_read_belongs_to_the_device_it_names(query: bytes, device_id: str, found: bool) -> None:  # noqa: FBT001 - a case
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
def test_one_that_can_not_be_read_belongs_to_it_when_its_bytes_hold_the_id(entry: bytes, found: bool) -> None:  # noqa: FBT001 - a case
    assert belongs_to(entry, "café/1") is found


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
def test_any_query_is_forgotten_exactly_when_it_names_the_device(query: bytes) -> None:
    raw = msgspec.structs.replace(RAW, query=query)
    assert not is_erased(raw, frozenset())
    device = device_of(encode_params(query))
    assert is_erased(raw, frozenset((device_digest(device or "nobody"),))) is (device is not None)
