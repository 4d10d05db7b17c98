"""A feed of 50,000 features: the time and the memory of its parts, and the whole import into storage."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.offerserver.bench import ImportBench, feed, source_at, thing

ROOT = Path(__file__).parents[3]
COUNT = 50_000
# VmHWM, not ru_maxrss: a new process begins with the ru_maxrss of the process that started it.
PARSE = """
import sys, time
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.runs import parse_documents
from services.offerserver.importers.configured import read_source
text, importer = open(sys.argv[1]).read(), read_source(open(sys.argv[2]).read())
began = time.process_time()
parsed = parse_documents(importer, [FeedDocument(url="x", text=text)], [], now_ms=0)
marks = {draft.id: fingerprint(draft, importer.source) for draft in parsed.drafts}
peak_kb = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
print(len(marks), time.process_time() - began, peak_kb * 1024 / 1e6)
"""


def large_feed() -> str:
    return feed(
        thing(number, at=[13.2 + number % 250 / 1_000, 52.4 + number // 250 / 1_000]) for number in range(COUNT)
    )


@pytest.mark.slow
@pytest.mark.measures
def test_large_feed_is_parsed_and_hashed_in_bounds(tmp_path: Path) -> None:
    (tmp_path / "feed.json").write_text(large_feed())
    (tmp_path / "source.yaml").write_text(source_at("https://feed.example/"))
    command = [sys.executable, "-c", PARSE, str(tmp_path / "feed.json"), str(tmp_path / "source.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    items, seconds, megabytes = (float(part) for part in done.stdout.split())
    print(f"{items:.0f} items: {seconds:.1f} s of CPU time, {megabytes:.0f} MB")  # noqa: T201 - for the README
    assert items == COUNT
    assert seconds < 10
    assert megabytes < 250


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(300)
async def test_large_feed_is_imported_in_bounds_and_not_written_again(bench: ImportBench) -> None:
    text = large_feed()
    assert len(text) < 10_000_000
    began_s = time.monotonic()
    first = await bench.run(text)
    first_s = time.monotonic() - began_s
    assert (first.grade, first.counts.new) == ("trusted", COUNT)
    bench.client.writes = 0
    began_s = time.monotonic()
    second = await bench.run(text)
    second_s = time.monotonic() - began_s
    assert (second.counts.unchanged, bench.client.writes) == (COUNT, 0)
    print(f"first {first_s:.1f} s, second {second_s:.1f} s")  # noqa: T201 - for the README
    assert first_s < 60
    assert second_s < 15
