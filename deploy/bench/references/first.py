"""A simple implementation, as a process on the measured core."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.develop.localstack.processes import LocalProcess
from deploy.paths import ROOT


def first_process(name: str, *arguments: str, within: Sequence[str], logs: Path) -> LocalProcess:
    """Return the process of the module `first_<name>` in this package, not yet started. `within` selects the core."""
    module = f"deploy.bench.references.first_{name}"
    return LocalProcess(
        f"first-{name}",
        [*within, sys.executable, "-m", module, *arguments],
        log=logs / f"first-{name}.log",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
