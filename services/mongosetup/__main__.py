"""Create the replica set: `python -m services.mongosetup`."""

import os
from functools import partial

from services.backbone.process import load_settings, run_until_stopped
from services.mongosetup.settings import Settings
from services.mongosetup.worker import run

if __name__ == "__main__":
    settings = load_settings(Settings, os.environ)
    run_until_stopped(partial(run, settings), settings, service="mongosetup")
