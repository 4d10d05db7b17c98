"""What the READMEs say holds: links lead somewhere, and each command is one that something here runs."""

import re
from pathlib import Path

import pytest

from deploy import catalog

ROOT = Path(__file__).parents[1]
READMES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", ".cache"} & set(path.parts))
READMES.append(ROOT / "deploy" / "runbooks.md")
# tests/cluster/test_documented.py runs each command of it, as it stands there.
PLAYED = ROOT / "deploy" / "kubernetes.md"

# Which test, or CI itself, runs each command that a README shows. The tracker's README has a test that runs all of its.
RUN_BY = {
    "python3 tasks.py demo": "tests/journey/test_interrupts.py",
    "python3 tasks.py test": ".ci/run",
    "python3 tasks.py demo --once --log access.log.gz --json": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py check": ".ci/run",
    "python3 tasks.py fix": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py --list": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py dotenv.generate --yes": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py test --kafka tansu -k dotenv": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py derived.write": "tests/journey/test_new_service.py",
    "python3 tasks.py lock": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py docker.images.build": "tests/system/test_containers.py",
    "python3 tasks.py docker.compose.spin-up": "tests/system/test_containers.py",
    "python3 tasks.py docker.compose.open-urls": "tests/system/test_containers.py",
    "python3 tasks.py docker.compose.logs --service kafkastore --since 10m": "tests/system/test_containers.py",
    'python3 tasks.py docker.compose.run --command "status"': "tests/system/test_containers.py",
    'python3 tasks.py docker.compose.run --command "dead.list --since 2h"': "tests/system/test_containers.py",
    'python3 tasks.py docker.compose.run --command "dead.replay --dry-run"': "tests/system/test_containers.py",
    "python3 tasks.py docker.compose.spin-down --keep-data": "tests/system/test_containers.py",
    "python3 tasks.py test --suite system": ".ci/run",
    "python3 tasks.py chaos --minutes 1.5 --seed 7 --json": "tests/chaos/test_chaos.py",
    "python3 tasks.py status": "tests/contract/test_canary.py",
    "python3 tasks.py dead.list --since 2h": "tests/contract/test_dead_letters.py",
    'python3 tasks.py dead.replay --reason "too large" --dry-run': "tests/contract/test_dead_letters.py",
    "python3 tasks.py erase --id DEVICE --yes": "tests/contract/test_erase.py",
    **{
        f"python3 tasks.py bench.{bench}": "tests/journey/test_benches.py"
        for bench in ("tracker", "batch", "kafkastore", "consumers", "pipeline", "kafidx", "profile tracker", "compare")
    },
}
# The commands of the containers. The tests of a service and the demo start them.
COMMANDS = {
    " ".join(("python -m", f"services.{row.service}", *row.arguments))
    for row in catalog.load().containers.values()
    if row.service
}


def name_of(readme: Path) -> str:
    return str(readme.relative_to(ROOT))


@pytest.mark.parametrize("readme", [*READMES, PLAYED], ids=name_of)
def test_links_lead_somewhere(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", readme.read_text()):
        if "://" not in target:
            assert (readme.parent / target).exists(), f"{name_of(readme)} links to {target}"


@pytest.mark.parametrize("readme", READMES, ids=name_of)
def test_every_command_is_run_somewhere(readme: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(), re.DOTALL):
        for line in block.splitlines():
            command = line.partition(" # ")[0].strip()
            if not command or command in COMMANDS or command.startswith(("#", "curl", "-", "|", "printf")):
                continue
            assert command in RUN_BY, f"{name_of(readme)}: nothing is said to run {command!r}"
            task = re.sub(r"^python3? (tasks\.py|-m) ", "", command).split()[0]
            runner = (ROOT / RUN_BY[command]).read_text()
            assert task.removeprefix("bench.") in runner, f"{RUN_BY[command]} does not run {task}"


@pytest.mark.parametrize("readme", sorted(ROOT.glob("services/*/README.md")), ids=name_of)
def test_readme_of_a_service_links_to_the_explanations_of_its_settings(readme: Path) -> None:
    text = readme.read_text()
    settings = re.split(r"^## ", text.partition("\n## Settings\n")[2], flags=re.MULTILINE)[0]
    assert "[.env.template](../../.env.template)" in settings
    variables = set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.template").read_text(), re.MULTILINE))
    rows = set(re.findall(r"^\| *`([A-Z][A-Z0-9_]+)`", text, re.MULTILINE))
    assert not rows & variables, "a variable is explained in its Settings class"
