from types import SimpleNamespace
from typing import Any

from services.backbone.kafka import RecordBatch
from services.canary.lookups.topic import FoundRecord, _wanted


def test_canary_is_found_beside_records_with_null_headers() -> None:
    headers = ((("id", None),), (("id", None), ("id", b"c-1")), ())
    records: list[Any] = [SimpleNamespace(offset=offset, headers=each) for offset, each in enumerate(headers)]
    assert _wanted(2, RecordBatch(0, 3, records), lambda found: found == "c-1") == [FoundRecord("c-1", 2, 1)]
