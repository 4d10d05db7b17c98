"""Free TCP ports on loopback."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below Linux's range for outgoing connections (32768 and up): a connection could take a port of that range between our
# check and the server's bind, or while a server restarts.
_LOWEST, _HIGHEST = 15_000, 32_000
_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that no process listens on and that this process has not returned before."""
    for _ in range(1_000):
        port = _random.randrange(_LOWEST, _HIGHEST)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("No free port on loopback in 1000 tries.")


def preferred_port(port: int) -> int:
    """Return `port` if it is free, else another free port."""
    return free_port() if is_listening(port) else port


def is_listening(port: int) -> bool:
    """Return whether a server listens on this port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
