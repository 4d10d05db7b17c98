"""Start the tracker: `python -m services.tracker`."""

import os
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.tracker.app import run
from services.tracker.settings import Settings

if __name__ == "__main__":
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, settings), settings, service="tracker")
