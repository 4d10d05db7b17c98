"""The tasks load with the packages of the operator's image alone, which are fewer than a developer has."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

from deploy.paths import ROOT

_LOCKED = {
    name.lower().replace("_", "-")
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "deploy" / "locks" / "operator.txt").read_text(), re.MULTILINE)
}
_MODULES_OF_DEVELOPERS = sorted(
    module
    for module, distributions in packages_distributions().items()
    if not {name.lower().replace("_", "-") for name in distributions} & _LOCKED
)
_PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({_MODULES_OF_DEVELOPERS!r}))
from pathlib import Path
import deploy.cli, tasks
from deploy.operate import dead, dead_letters, erase, export_offers, offers, send, status
feeds = Path({str(ROOT / "tests" / "unit" / "offerserver" / "importers" / "feeds")!r})
assert offers.check({{}}, feeds / "libraries.yaml", fixture=feeds / "libraries.csv") == 0
"""


def test_modules_of_developers_are_found() -> None:
    assert {"kubernetes", "playwright", "pytest"} <= set(_MODULES_OF_DEVELOPERS)
    assert not {"redis", "aiokafka", "feedparser", "invoke", "rich"} & set(_MODULES_OF_DEVELOPERS)


def test_tasks_load_with_the_packages_of_the_image() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
