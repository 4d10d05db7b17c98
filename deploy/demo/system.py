"""The whole system on this machine, without containers: real servers, and every service as a process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.ports import preferred_port
from deploy.operate import endpoints
from deploy.operate.endpoints import Endpoints

STATISTICS_CONSUMERS = ("event_counter", "metadata_counter", "search_counter", "timing_stats")
TRACKER_PORT = 5222
KAFIDX_PORT = 5031
PROCESSES = (("tracker",), ("kafkastore",), *(("consumers", name) for name in STATISTICS_CONSUMERS), ("kafidx",))
"""What `python -m services.<...>` runs; a new service joins with a row here. Not the canary: what it sends would
be counted among what a replay sent."""


@contextmanager
def running_system(*, kafka: KafkaChoice, console: Console) -> Iterator[LocalStack]:
    """Start everything; stop everything on the way out, whatever the reason."""
    begun = time.monotonic()
    with LocalStack(kafka=kafka, say=console.print) as stack:
        console.print(f"starting {len(PROCESSES)} services")
        # The addresses that the old system's clients and users know, where they are free.
        ports = {
            "TRACKER_PORT": str(preferred_port(TRACKER_PORT)),
            "KAFIDX_PORT": str(preferred_port(KAFIDX_PORT)),
        }
        own = ports | {"TRACKER_SPOOL_DIRECTORY": str(stack.data_directory / "spool")}
        for name, *arguments in PROCESSES:
            stack.start_service(name, *arguments, env=own)
        stack.wait_until_ready()
        console.print(f"everything runs after {time.monotonic() - begun:.0f} s")
        with endpoints.announce(endpoints_of(stack)):
            yield stack


def endpoints_of(stack: LocalStack) -> Endpoints:
    """Say where the parts of this stack listen."""
    return Endpoints(stack.tracker_url, (stack.redis_url,), stack.redis_url, stack.bootstrap_servers)
