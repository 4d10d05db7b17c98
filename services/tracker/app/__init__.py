"""The tracker's process; with TRACKER_WORKERS a supervisor and so many worker processes behind one port."""

from services.tracker.app.place import Place
from services.tracker.app.process import run

__all__ = ["Place", "run"]
