"""The whole system on this machine without containers: real servers, and a process for each row of the catalog.

The canary is left out: its events would be counted among those of a replay.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console

from deploy import catalog
from deploy.catalog import Container
from deploy.demo.feed_server import SOURCES, feed_server
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.mongo import MongoKind
from deploy.develop.localstack.ports import preferred_port
from deploy.operate import endpoints
from deploy.operate.endpoints import Endpoints

_MONGO: Final = "mongo"


@contextmanager
def running_system(
    *, kafka: KafkaChoice, console: Console, mongo: MongoKind | None = None, env: Mapping[str, str] | None = None
) -> Iterator[LocalStack]:
    """Start everything, with `env` added to the environment of each service. Stop everything when the block is left.

    Services that need MongoDB run only if `mongo` is set. They are started when the other services are ready, so that
    they do not delay the first counted event. The caller waits until they are ready.
    """
    begun = time.monotonic()
    rows = catalog.load().processes
    needing_mongo = [row for row in rows if _MONGO in row.reaches or row.acts]
    first = [row for row in rows if row not in needing_mongo]
    later = needing_mongo if mongo else []
    with feed_server() as feeds_url, LocalStack(kafka=kafka, mongo=mongo, say=console.print) as stack:
        console.print(f"starting {len(first)} services")
        own = {
            "TRACKER_SPOOL_DIRECTORY": str(stack.data_directory / "spool"),
            "IMAGESERVER_VOLUME": str(stack.data_directory / "images"),
            "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",  # the phones and feeds are on this machine
            "OFFERS_STAND_IN_URL": feeds_url,
            "OFFERS_SOURCES": str(SOURCES),
            "OFFERS_CONTACT": "demo@push.example",
            "OFFERS_HOST_DELAY_S": "0.01",  # all importers ask one server
            **(env or {}),
        }
        for row in first:
            stack.start_service(row.service, *row.arguments, env=own | _usual_port(row))
        stack.wait_until_ready()
        console.print(f"the system is ready after {time.monotonic() - begun:.0f} s")
        for row in later:
            stack.start_service(row.service, *row.arguments, env=own | _usual_port(row))
        with endpoints.announce(endpoints_of(stack)):
            yield stack


def _usual_port(row: Container) -> dict[str, str]:
    """Return the port that clients and users of the old system know, if it is free, else another one."""
    return {row.port_variable: str(preferred_port(row.port))} if row.port else {}


def endpoints_of(stack: LocalStack) -> Endpoints:
    """Return the endpoints of this stack."""
    storage = [service.internal_url for service in stack.services if service.name == "storage"]
    return Endpoints(
        stack.tracker_url,
        (stack.redis_url,),
        stack.redis_url,
        stack.bootstrap_servers,
        storage_internal_url=storage[0] if storage else "",
        actions_url=stack.redis_url,
    )
