"""A new service needs only the files of the recipe (services/README.md, "Add a service").

The services are a server with a public name and a worker that reads Kafka and calls the server. Their files are in
`new_service/`, each with the suffix .txt, so that the checks of this tree do not read them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from deploy.develop.localstack.kafka import KafkaKind

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "new_service"
CONTAINERS = """
[containers.toypages]
service = "toypages"
kind = "server"
port = 5998
host = ["toy"]

[containers.toyworker]
service = "toyworker"
kind = "worker"
reaches = ["kafka", "toypages"]
"""
EXTRAS = """\
toypages = []
toyworker = ["aiokafka[zstd]>=0.13", "httpx>=0.28"]
"""
TABLE_ROWS = """\
| [toypages](toypages/README.md) | HTTP | nothing | 5998 | a page |
| [toyworker](toyworker/README.md) | topic `events` | nothing | - | none |
"""
ADDITIONS = (
    ("deploy/catalog.toml", "[addresses]\n", 'TOYPAGES_URL = "http://toypages:5998"\n'),
    ("deploy/catalog.toml", 'reaches = ["prometheus"]\n', CONTAINERS),
    ("pyproject.toml", "[project.optional-dependencies]\n", EXTRAS),
    ("services/README.md", "|---|---|---|---|---|\n", TABLE_ROWS),
)
"""The additions to files of the tree: the file, the line before the addition, and the addition."""
NAMES = ("toypages", "toyworker")
SUITES = (
    "tests/test_architecture.py",
    "tests/test_compose.py",
    "tests/test_images.py",
    "tests/test_monitoring.py",
    "tests/test_readmes.py",
    "tests/cluster/test_manifests.py",
    "tests/unit/deploy/containers/test_images.py",
    "tests/unit/deploy/monitoring",
    "tests/unit/toypages",
    "tests/unit/toyworker",
)
STACK = """
import sys
from http.client import HTTPConnection
from deploy.develop.localstack import LocalStack
with LocalStack(kafka=sys.argv[1]) as stack:
    server = stack.start_service("toypages")
    stack.start_service("toyworker")
    stack.wait_until_ready()
    connection = HTTPConnection("127.0.0.1", int(server.env["TOYPAGES_PORT"]), timeout=5)
    connection.request("GET", "/?name=Ada")
    print(connection.getresponse().read().decode())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tracked files with two more services, after `lock` and `derived.write`."""
    copy = tmp_path_factory.mktemp("new") / "push"
    for name in git(ROOT, "ls-files").splitlines():
        if (ROOT / name).is_file():
            copy_file(ROOT / name, copy / name)
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    for source in sorted(FILES.rglob("*.txt")):
        copy_file(source, copy / source.relative_to(FILES).with_suffix(""))
    for file, line, addition in ADDITIONS:
        before = (copy / file).read_text()
        assert before.count(line) == 1, f"{file}: {line!r}"
        (copy / file).write_text(before.replace(line, line + addition))
    run(copy, "-m", "deploy.cli", "lock")
    run(copy, "-m", "deploy.cli", "derived.write")
    yield copy
    shutil.rmtree(copy)
    for name in NAMES:
        for environment in (Path(sys.prefix) / "services").glob(f"{name}-*"):
            shutil.rmtree(environment)


def copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def git(directory: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=True).stdout


def run(tree: Path, *words: str) -> str:
    """Run Python in the copy and return its standard output. It must succeed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


def has_compose() -> bool:
    docker = shutil.which("docker")
    return (
        docker is not None
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    )


def recipe(tree: Path) -> str:
    return (tree / "services" / "README.md").read_text().partition("\n## Add a service\n")[2]


def recipe_files(tree: Path) -> list[str]:
    """Return the patterns of the recipe's files, for both services."""
    patterns = re.findall(r"^\| `([^`]+)` \|", recipe(tree), re.MULTILINE)
    return [re.sub("<(service|container)>", name, pattern) for name in NAMES for pattern in patterns]


def test_new_service_changes_only_the_files_of_the_recipe_and_derived_files(tree: Path) -> None:
    changed = git(tree, "diff", "--name-only").split()
    added = git(tree, "ls-files", "--others", "--exclude-standard").split()
    derived = run(tree, "-c", "from deploy.develop import derived; print(*derived.derived_texts(), sep='\\n')").split()
    by_hand = {*changed, *added} - set(derived)
    patterns = recipe_files(tree)
    assert [file for file in by_hand if not any(fnmatch(file, pattern) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(fnmatch(file, pattern) for file in by_hand)] == []


def test_checks_accept_a_new_service(tree: Path) -> None:
    run(tree, "-m", "ruff", "format", "--check", "--no-cache", ".")
    run(tree, "-m", "ruff", "check", "--no-cache", ".")
    run(tree, "-m", "mypy", *(f"{folder}/{name}" for name in NAMES for folder in ("services", "tests/unit")))
    run(tree, str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    errors = "from deploy.develop import derived, locks; print(derived.errors() + locks.errors())"
    assert run(tree, "-c", errors) == "[]\n"


def test_suites_accept_a_new_service(tree: Path) -> None:
    # The alerts of the other services are the same as in this tree, and their scenarios take most of the time.
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not alerts_of_a_scenario", *SUITES)


def test_network_policies_and_scrape_targets_contain_a_new_service(tree: Path) -> None:
    policies = yaml.safe_load_all((tree / "kubernetes/components/network-policies/edges.yaml").read_text())
    ingress = {policy["metadata"]["name"]: policy["spec"].get("ingress") for policy in policies}
    clients = {"podSelector": {"matchLabels": {"push-reaches/toypages": "true"}}}
    assert ingress["toypages"] == [{"from": [clients], "ports": [{"port": 5998}]}]
    jobs = yaml.safe_load((tree / "deploy/monitoring/prometheus.yml").read_text())["scrape_configs"]
    assert set(NAMES) <= {job["job_name"] for job in jobs}


def test_docker_compose_accepts_a_new_service(tree: Path) -> None:
    if not has_compose():
        pytest.skip("needs docker compose; tests/test_compose.py resolves the same files without it")
    command = ["docker", "compose", "--env-file", "../.env.template", "--file", "compose.yml", "config", "--services"]
    done = subprocess.run(command, cwd=tree / "docker-compose", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(NAMES) <= set(done.stdout.split())


def test_local_stack_starts_a_new_service(tree: Path, kafka_kind: KafkaKind) -> None:
    assert run(tree, "-c", STACK, kafka_kind).splitlines()[-1] == "Hello Ada!"


def test_recipe_is_short(tree: Path) -> None:
    assert len(recipe(tree).splitlines()) < 40
