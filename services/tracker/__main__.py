"""The container's command: environment -> settings -> logging -> run."""

import os
import sys
from functools import partial

from services.backbone.process import fail, load_settings, run_until_stopped
from services.tracker.app import Place, run
from services.tracker.settings import Settings

EXIT_USAGE = 2


def main() -> None:
    """Run the tracker; with arguments, which only its supervisor gives, one worker of it."""
    arguments = sys.argv[1:]
    place = None
    if arguments:
        try:
            place = Place.from_arguments(arguments)
        except ValueError:
            fail("usage: python -m services.tracker", EXIT_USAGE)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place.figures)  # where prometheus_client looks for it
    settings = load_settings(Settings, os.environ)
    fields = {} if place is None else {"worker": place.number}
    run_until_stopped(partial(run, settings, place=place), settings, service="tracker", log_fields=fields)


if __name__ == "__main__":
    main()
