"""A memory cgroup (v1 or v2) of this machine, with the limit of a container."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOTS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))


@contextlib.contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """Create a cgroup whose processes the kernel kills above `limit_bytes`. Skip the test if that is not allowed."""
    group = None
    for root, limit in _ROOTS:
        with contextlib.suppress(OSError):
            group = root / f"push-test-{secrets.token_hex(4)}"
            group.mkdir()
            (group / limit).write_text(str(limit_bytes))
            break
    else:
        pytest.skip("this machine allows no memory cgroup: it needs root and the memory controller")
    try:
        yield group
    finally:
        group.rmdir()


@contextlib.contextmanager
def joined(group: Path) -> Iterator[None]:
    """Move this process into the cgroup while the block runs. Processes that it starts there stay in the cgroup."""
    own = Path("/proc/self/cgroup").read_text().splitlines()
    controller = ":memory:" if group.parent.name == "memory" else "0::"
    [path] = [line.split(":", 2)[2] for line in own if controller in line]
    before = group.parent / path.lstrip("/")
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
