import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backbone.erasure import device_digest, device_of, is_erased
from services.backbone.events import encode_params
from tests.raw_event import RAW


def test_digest_has_16_bytes_and_differs_by_device() -> None:
    assert len(device_digest("device-7")) == 16
    assert len({device_digest(text) for text in ("device-7", "device-8", "", "é", "\udc80")}) == 5


@pytest.mark.parametrize(("params", "device"), [("di=a&di=b", "a"), ("d%69=%C3%A9", "é"), ("di=", None), ("x=1", None)])
def test_device_is_the_first_parameter_di_decoded(params: str, device: str | None) -> None:
    assert device_of(params) == device


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
def test_entry_is_erased_exactly_when_its_query_contains_the_device(query: bytes) -> None:
    raw = msgspec.structs.replace(RAW, query=query)
    assert not is_erased(raw, frozenset())
    device = device_of(encode_params(query))
    assert is_erased(raw, frozenset((device_digest(device or "nobody"),))) is (device is not None)
