"""Start kafkastore: `python -m services.kafkastore`.

`python -m services.kafkastore wait-until-drained` starts nothing. It waits until the running kafkastore has drained the
queue.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial

from services.backbone.logs import configure_logging
from services.backbone.process import fail, load_settings, run_until_stopped
from services.kafkastore.settings import Settings
from services.kafkastore.worker.process import run
from services.kafkastore.worker.wait_until_drained import wait_until_drained


def main(arguments: Sequence[str]) -> None:
    """Read the environment and run until stopped, or wait until the queue is drained."""
    asked = _parser().parse_args(arguments)
    settings = load_settings(Settings, os.environ)
    if asked.command is None:
        run_until_stopped(partial(run, settings), settings, service="kafkastore")
        return
    configure_logging(service="kafkastore.drained", level=settings.log_level, output=settings.log_format)
    if not asyncio.run(wait_until_drained(settings, within_s=asked.seconds, until_closed=asked.until_closed)):
        fail(f"not drained within {asked.seconds:g} s: the remaining entries wait in Redis", 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.kafkastore")
    commands = parser.add_subparsers(dest="command", metavar="wait-until-drained")
    wait = commands.add_parser("wait-until-drained", help="wait until nothing is left to ship; ships nothing itself")
    wait.add_argument("--seconds", type=float, default=60.0, help="give up after this time, with exit code 1")
    wait.add_argument("--until-closed", type=int, default=0, metavar="PORT", help="wait until no process listens on it")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
