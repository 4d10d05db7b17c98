"""Each bench, briefly: it runs, reports its results and loses nothing. The results themselves are not checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.mongo import MongoKind

ROOT = Path(__file__).parents[2]
KEYS = ["name", "rate", "p50_ms", "p99_ms", "lost", "cpu_us_per_event", "rss_mb", "ratios"]

pytestmark = [pytest.mark.slow, pytest.mark.measures, pytest.mark.timeout(240)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.cli", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=220)


@pytest.mark.parametrize("bench", ["tracker", "batch", "kafkastore", "consumers", "pipeline", "kafidx", "images"])
def test_brief_bench_reports_its_results_and_loses_nothing(
    bench: str, kafka_kind: KafkaKind, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = [] if bench in ("tracker", "batch", "images") else ["--kafka", kafka_kind]
    done = run(f"bench.{bench}", "--brief", "--json", *broker)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    figure = json.loads(last)
    assert list(figure) == KEYS
    assert figure["lost"] == 0
    assert figure["rate"] > 0
    assert figure["cpu_us_per_event"] > 0
    assert all(ratio > 0 for ratio in figure["ratios"].values())
    assert figure["ratios"]
    kept = json.loads((ROOT / ".cache" / "bench" / f"{figure['name'].replace(' ', '-')}.brief.json").read_text())
    assert kept["figure"] == figure
    with capsys.disabled():
        print(f"\n{last}")  # noqa: T201 - what CI keeps


def test_brief_bench_of_storage_reports_no_error() -> None:
    done = run("bench.storage", "--size", "500", "--seconds", "2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["name"], result["errors"]) == ("storage", 0)
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert result["own_p99_ms"] > 0


def test_brief_bench_of_matching_finds_the_same_matches_in_each_way(mongo_kind: MongoKind) -> None:
    if mongo_kind != "mongod":
        pytest.skip("the bench measures mongod")
    done = run("bench.match", "--size", "20000", "--queries", "10", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    for ways in result["scenes"].values():
        ours, own = ways["radius classes"], ways["own radius"]
        assert ours["checksum"] == own["checksum"]
        assert 0 < ours["matches"] <= ours["candidates"] <= own["candidates"]
    assert result["encounters"]["pairs"] > 0
    assert result["encounters"]["reported_rate"] > 0


def test_profile_lists_the_functions_and_draws_the_graph() -> None:
    done = run("bench.profile", "tracker", "--seconds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "services/tracker/routes/protocol.py" in done.stdout
    assert "<svg" in (ROOT / ".cache" / "profiles" / "tracker.svg").read_text()


def test_compare_lists_the_compared_benches_or_the_commands_to_run() -> None:
    done = run("bench.compare")
    # It compares if benches have run in this clone. Otherwise it names the commands to run.
    if "ratios to the references" in done.stdout:
        assert done.returncode == int("REGRESSION" in done.stdout), done.stdout + done.stderr
    else:
        assert done.returncode == 1
        assert any(hint in done.stderr for hint in ("without --brief", "with the same load")), done.stderr
