"""The loop of the imageserver: `Sweeper`."""

from services.imageserver.worker.sweeper import Sweeper

__all__ = ["Sweeper"]
