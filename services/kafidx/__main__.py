"""Start kafidx: `python -m services.kafidx`."""

import os
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.kafidx.app import run
from services.kafidx.settings import Settings

if __name__ == "__main__":
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, settings), settings, service="kafidx")
