"""Start kafkastore: `python -m services.kafkastore`."""

import os
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.kafkastore.settings import Settings
from services.kafkastore.worker.process import run


def main() -> None:
    """Read the environment and run until stopped."""
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, settings), settings, service="kafkastore")


if __name__ == "__main__":
    main()
