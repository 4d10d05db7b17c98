"""Start kafkastore: `python -m services.kafkastore`.

`python -m services.kafkastore wait-until-drained` waits until the running kafkastore has drained its queues. Run it
before you stop kafkastore. It starts no kafkastore.
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
    """Read the settings from the environment, and run until stopped, or wait until all queues are drained."""
    options = _parser().parse_args(arguments)
    settings = load_settings(Settings, os.environ)
    if options.command is None:
        run_until_stopped(partial(run, settings), settings, service="kafkastore")
        return
    configure_logging(service="kafkastore.drained", level=settings.log_level, output=settings.log_format)
    if not asyncio.run(wait_until_drained(settings, within_s=options.seconds, until_closed=options.until_closed)):
        fail(f"not drained within {options.seconds:g} s: the other entries wait in Redis", 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.kafkastore")
    commands = parser.add_subparsers(dest="command", metavar="wait-until-drained")
    wait = commands.add_parser("wait-until-drained", help="wait until the queues are empty")
    wait.add_argument("--seconds", type=float, default=60.0, help="longest wait; then exit with code 1")
    wait.add_argument(
        "--until-closed", type=int, default=0, metavar="PORT", help="first wait until no process listens on this port"
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
