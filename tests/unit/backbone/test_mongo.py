from typing import Any

import pytest
from pymongo.errors import BulkWriteError

from services.backbone.mongo import duplicates_of

KNOWN = {"code": 11_000, "op": {"_id": "a"}}


def error(*write_errors: dict[str, Any], concern: tuple[dict[str, Any], ...] = ()) -> BulkWriteError:
    return BulkWriteError({"writeErrors": list(write_errors), "writeConcernErrors": list(concern)})


def test_operations_on_existing_keys_are_returned() -> None:
    assert duplicates_of(error(KNOWN)) == [{"_id": "a"}]


@pytest.mark.parametrize(
    "failed",
    [
        error(KNOWN, {"code": 121, "op": {"_id": "b"}}),
        error(KNOWN, concern=({"code": 91},)),
        error(concern=({"code": 64},)),
    ],
)
def test_other_failures_are_raised(failed: BulkWriteError) -> None:
    with pytest.raises(BulkWriteError):
        duplicates_of(failed)
