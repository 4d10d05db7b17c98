import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop.localstack import ports

ROOT = Path(__file__).parents[5]
HOLDER = """
from deploy.develop.localstack import ports
print(ports.free_port(), flush=True)
input()
"""


def test_a_port_is_given_to_one_process_until_that_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", HOLDER],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        # The only port in the range.
        monkeypatch.setattr(ports, "_LOWEST", port)
        monkeypatch.setattr(ports, "_HIGHEST", port + 1)
        with pytest.raises(RuntimeError, match="No free port"):
            ports.free_port()
        monkeypatch.undo()
        assert ports.preferred_port(port) != port
    finally:
        _, warnings = holder.communicate("\n")
    assert warnings == ""
    assert ports.preferred_port(port) == port
