import re
from pathlib import Path

from services.imageserver.core.refusals import RefusalReason

ROOT = Path(__file__).parents[4]


def test_each_reason_has_a_code_of_its_own_and_one_sentence() -> None:
    codes = [reason.code for reason in RefusalReason]
    assert len(codes) == len(set(codes)) == 12
    for reason in RefusalReason:
        assert reason.sentence.endswith(".")


def test_statuses_are_those_of_the_contract() -> None:
    assert {reason.status for reason in RefusalReason} == {408, 413, 415, 422, 429, 503, 507}


def test_reasons_that_pass_name_a_time() -> None:
    assert {reason.status for reason in RefusalReason if reason.retry_after_s} == {429, 503, 507}


def test_reasons_are_in_the_table_of_the_api() -> None:
    text = (ROOT / "services" / "imageserver" / "api.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", text, re.MULTILINE)
    listed = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert {(reason.status, reason.code) for reason in RefusalReason} < listed
