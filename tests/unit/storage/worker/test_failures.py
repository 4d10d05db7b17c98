import pytest

from services.storage.worker.failures import FirstFailures


def test_failure_of_a_document_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    failures = FirstFailures("object_fails")
    for name in ("a", "b", "a", "a"):
        failures.report(name, ValueError("bad"))
    lines = capsys.readouterr().out.splitlines()
    assert [("object_fails" in line, "ValueError: bad" in line) for line in lines] == [(True, True)] * 2
