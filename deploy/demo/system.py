"""The whole system on this machine without containers: real servers, and a process for each row of the catalog.

The canary is left out: its events would be counted among those of a replay.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from deploy import catalog
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.ports import preferred_port
from deploy.operate import endpoints
from deploy.operate.endpoints import Endpoints


@contextmanager
def running_system(*, kafka: KafkaChoice, console: Console) -> Iterator[LocalStack]:
    """Start everything. Stop everything when the block is left."""
    begun = time.monotonic()
    processes = catalog.load().processes
    with LocalStack(kafka=kafka, say=console.print) as stack:
        console.print(f"starting {len(processes)} services")
        # The ports that clients and users of the old system know, if they are free.
        ports = {found.port_variable: str(preferred_port(found.port)) for found in processes if found.port}
        own = ports | {"TRACKER_SPOOL_DIRECTORY": str(stack.data_directory / "spool")}
        for found in processes:
            stack.start_service(found.service, *found.arguments, env=own)
        stack.wait_until_ready()
        console.print(f"the system is ready after {time.monotonic() - begun:.0f} s")
        with endpoints.announce(endpoints_of(stack)):
            yield stack


def endpoints_of(stack: LocalStack) -> Endpoints:
    """Return the endpoints of this stack."""
    return Endpoints(stack.tracker_url, (stack.redis_url,), stack.redis_url, stack.bootstrap_servers)
