import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# Run in a separate process, because logging is global and pytest configures its own.
PROGRAM = """
import logging
from services.backbone.logs import configure_logging, get_logger

configure_logging(service="example", level="INFO", output={output!r})
log = get_logger("some.module")
log.debug("not_shown")
log.info("batch_shipped", events=300, place="K\\u00f6ln")
logging.getLogger("library").warning("from %s", "outside")
logging.getLogger("httpx").info("HTTP Request: a line an event")
logging.getLogger("aiokafka.conn").error("connection lost, logged five times")
try:
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("failed")
"""


def logged(output: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(output=output)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr.splitlines()


def test_records_are_json_lines_without_a_terminal() -> None:
    for output in ("json", "auto"):
        records = [json.loads(line) for line in logged(output)]
        assert [record["event"] for record in records] == ["batch_shipped", "from outside", "failed"]
        assert all(record["service"] == "example" for record in records)
        shipped, foreign, failed = records
        assert (shipped["events"], shipped["place"], shipped["logger"]) == (300, "Köln", "some.module")
        assert (shipped["level"], foreign["level"], failed["level"]) == ("info", "warning", "error")
        assert shipped["timestamp"].endswith("Z")
        assert failed["exception"][0]["exc_value"] == "two\nlines"


def test_records_are_readable_lines_when_configured() -> None:
    lines = logged("text")
    assert any("batch_shipped" in line and "300" in line for line in lines)
    assert not any(line.startswith("{") for line in lines)
