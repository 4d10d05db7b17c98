"""Run a command as a process that cannot outlive its parent.

Run as `python die_with_parent.py <parent's pid> <command> ... [--then <command> ...]`. The kernel (PR_SET_PDEATHSIG)
kills the process when its parent ends, for any reason. Each command before a `--then` runs first and must end. It is a
child of this process, and the kernel kills it in the same way. If it fails, this process exits with its exit code.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int) -> None:
    """Request SIGKILL when the parent ends. Exit now if the parent has already ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # the parent ended between our start and the call above
        sys.exit(1)


def main(parent_pid: int, words: list[str]) -> None:
    """Run the commands before each `--then`, then become the last command."""
    die_with(parent_pid)
    while "--then" in words:
        end = words.index("--then")
        first = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *words[:end]]
        code = subprocess.run(first, check=False).returncode
        if code != 0:
            sys.exit(code if code > 0 else 128 - code)
        words = words[end + 1 :]
    os.execvp(words[0], words)  # noqa: S606 - the caller's command, without a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
