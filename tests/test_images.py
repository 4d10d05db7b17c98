"""Check the text of deploy/Dockerfile; tests/system builds it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import catalog

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def stages() -> dict[str, str]:
    found = re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("path", ["deploy/Dockerfile", "services/imageserver.nfs/Dockerfile"])
def test_dockerfile_passes_hadolint(path: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--format", "json", ROOT / path], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == []
    assert done.returncode == 0, done.stderr


def test_base_image_matches_the_catalog() -> None:
    assert re.findall(r"^ARG BASE_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE) == [catalog.load().images["python"]]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE_IMAGE}", "runtime"}


def test_image_contains_only_its_lock_backbone_and_its_service() -> None:
    copied = [
        source
        for stage in ("dependencies", "application")
        for source in re.findall(r"^COPY (\S+)", stages()[stage], re.MULTILINE)
    ]
    assert copied == [
        "deploy/locks/${SERVICE}.txt", "services/__init__.py", "services/backbone", "services/${SERVICE}",
    ]  # fmt: skip
    assert re.findall(r"^COPY (--\S+)", stages()["service"], re.MULTILINE) == ["--from=application"]
    assert "--require-hashes" in stages()["dependencies"]


def test_image_runs_as_non_root_and_writes_no_bytecode() -> None:
    assert re.search(r"^USER 10001:10001$", stages()["runtime"], re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", stages()["runtime"], re.MULTILINE)
    assert "PYTHONDONTWRITEBYTECODE=1" in stages()["runtime"]


def test_build_excludes_untracked_files() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {"!deploy", "!services", "!tasks.py", "!pyproject.toml"}
