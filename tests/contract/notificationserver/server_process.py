"""A notificationserver that kills itself at a named point. Arguments: the point and the number of passes before."""

import os
import signal
import sys
from collections import Counter
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.notificationserver.__main__ import serve
from services.notificationserver.settings import Settings


def main(point: str = "", passes: str = "1") -> None:
    """Serve until stopped or killed."""
    passed: Counter[str] = Counter()

    def at_point(name: str) -> None:
        passed[name] += 1
        if name == point and passed[name] == int(passes):
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, settings, at_point=at_point), settings, service="notificationserver")


if __name__ == "__main__":
    main(*sys.argv[1:])
