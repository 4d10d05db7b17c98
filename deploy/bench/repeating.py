"""Repeat a call for some seconds, and print its times as one line of JSON.

It imports only the standard library, since references run it in environments of their own.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path


def repeat(call: Callable[[], object], *, seconds: float) -> None:
    """Call once to fill caches, then for `seconds`, at least once. Print latencies, CPU time and memory."""
    call()
    latencies_s: list[float] = []
    cpu_s, begin_s = time.process_time(), time.perf_counter()
    until_s = now_s = begin_s
    until_s += seconds
    while now_s < until_s:
        call()
        before_s, now_s = now_s, time.perf_counter()
        latencies_s.append(now_s - before_s)
    found = {
        "latencies_s": latencies_s,
        "seconds": now_s - begin_s,
        "cpu_s": time.process_time() - cpu_s,
        "rss_mb": _rss_mb(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _rss_mb() -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
