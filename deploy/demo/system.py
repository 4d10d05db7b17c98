"""The whole system on this machine without containers: real servers, and a process for every service."""

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
"""The arguments of `python -m services.<...>`. A new service joins with a row here. The canary is left out: its events
would be counted among those of a replay."""


@contextmanager
def running_system(*, kafka: KafkaChoice, console: Console) -> Iterator[LocalStack]:
    """Start everything. Stop everything when the block is left."""
    begun = time.monotonic()
    with LocalStack(kafka=kafka, say=console.print) as stack:
        console.print(f"starting {len(PROCESSES)} services")
        # The ports that clients and users of the old system know, if they are free.
        ports = {
            "TRACKER_PORT": str(preferred_port(TRACKER_PORT)),
            "KAFIDX_PORT": str(preferred_port(KAFIDX_PORT)),
        }
        own = ports | {"TRACKER_SPOOL_DIRECTORY": str(stack.data_directory / "spool")}
        for name, *arguments in PROCESSES:
            stack.start_service(name, *arguments, env=own)
        stack.wait_until_ready()
        console.print(f"the system is ready after {time.monotonic() - begun:.0f} s")
        with endpoints.announce(endpoints_of(stack)):
            yield stack


def endpoints_of(stack: LocalStack) -> Endpoints:
    """Return the endpoints of this stack."""
    return Endpoints(stack.tracker_url, (stack.redis_url,), stack.redis_url, stack.bootstrap_servers)
