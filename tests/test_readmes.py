"""The READMEs are correct: each link has a target, and a test or CI runs each command."""

import re
from pathlib import Path

import pytest

from deploy import catalog

ROOT = Path(__file__).parents[1]
READMES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", ".cache"} & set(path.parts))
MORE_PAGES = ("deploy/kubernetes.md", "deploy/runbooks.md", "services/backbone/pages/maps.md")
WRAPPED = [*READMES, *(ROOT / name for name in MORE_PAGES)]
READMES.append(ROOT / "deploy" / "runbooks.md")
# tests/cluster/test_documented.py runs each command of this page.
PLAYED = ROOT / "deploy" / "kubernetes.md"
LINKED = [*READMES, PLAYED, *sorted(ROOT.glob("services/*/api.md"))]

# The test or script that runs each command of a README. A test of the tracker runs all commands of its README.
RUN_BY = {
    "python3 tasks.py demo": "tests/journey/test_interrupts.py",
    "python3 tasks.py test": ".ci/run",
    "python3 tasks.py offsets.show": "tests/contract/test_consumers_offsets.py",
    "python3 tasks.py offsets.set --group event_counter --to 2h --dry-run": "tests/contract/test_consumers_offsets.py",
    "python3 tasks.py demo --once --log access.log.gz --json": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py test --suite measures -k first_counted_event": "tests/journey/test_demo.py",
    "python3 tasks.py test --suite measures -k thousand": "tests/contract/notificationserver/test_rates.py",
    "python3 tasks.py test --suite endurance -k mid_send": "tests/contract/notificationserver/test_kills.py",
    "python3 tasks.py check": ".ci/run",
    "python3 tasks.py fix": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py --list": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py dotenv.generate --yes": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py test --kafka tansu -k dotenv": "tests/journey/test_fresh_clone.py",
    "python3 tasks.py derived.write": "tests/journey/test_new_service.py",
    "python3 tasks.py assets.vendor": "tests/unit/deploy/develop/test_vendor.py",
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
    "python3 tasks.py offers.check libraries.yaml": "tests/contract/offerserver/test_tasks.py",
    "python3 tasks.py offers.export --owner CityLibraries": "tests/contract/offerserver/test_export.py",
    **{
        f"python3 tasks.py bench.{bench}": "tests/journey/test_benches.py"
        for bench in (
            "tracker",
            "batch",
            "kafkastore",
            "consumers",
            "pipeline",
            "kafidx",
            "storage",
            "match",
            "images",
            "profile tracker",
            "compare",
        )
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


def test_root_readme_has_at_most_130_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("readme", WRAPPED, ids=name_of)
def test_lines_have_at_most_120_characters(readme: Path) -> None:
    text = re.sub(r"```sh\n.*?```", "", readme.read_text(), flags=re.DOTALL)  # a command is one line
    assert not [line for line in text.splitlines() if len(line) > 120]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", LINKED, ids=name_of)
def test_links_have_targets(readme: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", readme.read_text()):
        if "://" in target:
            continue
        page = readme.parent / target if target else readme
        assert page.exists(), f"{name_of(readme)} links to {target}"
        if anchor and page.suffix == ".md":
            assert anchor in anchors_of(page), f"{name_of(readme)} links to {target}#{anchor}"


@pytest.mark.parametrize("readme", READMES, ids=name_of)
def test_commands_are_run_by_a_test_or_ci(readme: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(), re.DOTALL):
        for line in block.splitlines():
            command = line.partition(" # ")[0].strip()
            if not command or command in COMMANDS or command.startswith(("#", "curl", "-", "|", "printf")):
                continue
            assert command in RUN_BY, f"{name_of(readme)}: RUN_BY has no entry for {command!r}"
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
