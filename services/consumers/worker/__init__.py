"""The worker of a statistics consumer: `process` starts and stops it, `consumer` counts."""

from services.consumers.worker.consumer import StatisticsConsumer
from services.consumers.worker.process import run

__all__ = ["StatisticsConsumer", "run"]
