"""Start the canary: `python -m services.canary`."""

import os
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.canary.settings import Settings
from services.canary.worker import run


def main() -> None:
    """Read the settings from the environment, and run until stopped."""
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, settings), settings, service="canary")


if __name__ == "__main__":
    main()
