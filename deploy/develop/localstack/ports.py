"""Free TCP ports on loopback."""

import fcntl
import functools
import os
import random
import socket

LOOPBACK = "127.0.0.1"

# Linux takes the ports of outgoing connections from 32768 and up. These ports are lower. Otherwise a connection could
# take the port of a server before the server binds it, or while the server restarts.
_LOWEST, _HIGHEST = 15_000, 32_000
_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that no process listens on and that no running process of this user has reserved."""
    for _ in range(1_000):
        port = _random.randrange(_LOWEST, _HIGHEST)
        if port in _given or not _reserve(port):
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("No free port on loopback in 1000 tries.")


def _reserve(port: int) -> bool:
    """Lock the byte at offset `port` of a file that all processes share. The kernel unlocks it when this process ends.

    A server binds its port some time after this call, and again after a restart. Without the lock, a parallel test run
    could take the port in between.
    """
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _reservations() -> int:
    # Never close this descriptor: a process that closes any descriptor of the file loses all its locks. The file is not
    # in TMPDIR, because TMPDIR may differ between processes.
    name = f"/tmp/push-ports-{os.getuid()}"  # noqa: S108 - the name holds the user, the file nothing
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def preferred_port(port: int) -> int:
    """Return `port` if it is free and no other process has reserved it, else another free port."""
    return port if _reserve(port) and not is_listening(port) else free_port()


def is_listening(port: int) -> bool:
    """Return whether a server listens on this port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
