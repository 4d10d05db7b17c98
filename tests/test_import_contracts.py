"""The import contracts of pyproject.toml: each reports a violation, also one in a service that it does not name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEW_SERVICE = {
    "services/toy/__init__.py": "",
    "services/toy/worker.py": "import services.toy.metrics\nimport services.backbone.process\n",
    "services/toy/routes.py": "import services.toy.store\n",
    "services/toy/store.py": "import services.toy.metrics\n",
    "services/toy/metrics.py": "import services.toy.core\n",
    "services/toy/core.py": "import services.backbone.events\n",
    "services/toy/settings.py": "import services.backbone.settings\n",
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    environ = os.environ | {"COLUMNS": "200"}  # a line for each contract
    return subprocess.run([linter, "--no-cache"], cwd=tree, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source trees with one more service, which keeps all contracts."""
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy2(ROOT / "pyproject.toml", copy)
    for directory in ("services", "deploy"):
        shutil.copytree(ROOT / directory, copy / directory, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in NEW_SERVICE.items():
        (copy / file).parent.mkdir(exist_ok=True)
        (copy / file).write_text(text)
    return copy


def test_contracts_accept_a_new_service(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "imported", "contract"),
    [
        ("services/toy/store.py", "services.tracker.core", "Services never import each other"),
        ("services/tracker/__main__.py", "services.toy.core", "Services never import each other"),
        ("services/backbone/process.py", "services.toy.core", "Services never import each other"),
        ("services/toy/core.py", "services.toy.store", "Inside a service"),
        ("services/toy/settings.py", "services.toy.core", "Inside a service"),
        ("services/toy/core.py", "services.toy.metrics", "Inside a service"),
        ("services/toy/metrics.py", "services.toy.store", "Inside a service"),
        ("services/toy/store.py", "services.toy.routes", "Inside a service"),
        ("services/backbone/events/__init__.py", "services.backbone.process", "Inside backbone"),
        ("services/toy/core.py", "redis", "Pure modules do no I/O"),
        ("services/toy/store.py", "aiokafka", "Only backbone.kafka knows the Kafka client"),
        ("deploy/operate/send.py", "deploy.bench.load", "deploy: what operates a system"),
    ],
)
def test_contract_reports_a_forbidden_import(tree: Path, file: str, imported: str, contract: str) -> None:
    before = (tree / file).read_text()
    (tree / file).write_text(f"{before}\nimport {imported}\n")
    try:
        done = lint(tree)
    finally:
        (tree / file).write_text(before)
    assert done.returncode == 1, done.stdout
    broken = re.findall(r"^(.*) BROKEN\b", done.stdout, re.MULTILINE)
    assert [name[: len(contract)] for name in broken] == [contract]
