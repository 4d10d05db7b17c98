"""Start a consumer: `python -m services.consumers event_counter`."""

import os
import sys
from functools import partial

from services.backbone.process import fail, load_settings, run_until_stopped
from services.consumers.handlers import HANDLERS
from services.consumers.settings import Settings
from services.consumers.worker import run

EXIT_USAGE = 2


def main() -> None:
    """Read the name of the consumer and the settings, and run until stopped."""
    arguments = sys.argv[1:]
    if len(arguments) != 1 or arguments[0] not in HANDLERS:
        error = f"unknown consumer {' '.join(arguments)!r}" if arguments else "the name of a consumer is missing"
        fail(f"{error}\nusage: python -m services.consumers {{{' | '.join(sorted(HANDLERS))}}}", EXIT_USAGE)
    handler = HANDLERS[arguments[0]]
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, handler, settings), settings, service=f"consumers.{handler.description.name}")


if __name__ == "__main__":
    main()
