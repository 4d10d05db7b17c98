"""The shutdown of a tracker's pod, with real processes that end in the order of a kubelet."""

import asyncio
import os
import signal
import subprocess
import sys
from http import HTTPStatus
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from deploy.cluster import overlay
from deploy.develop.localstack import LocalStack
from services.backbone.queue import EventQueue, Ledger

EVENTS = 3000


def hook() -> list[str]:
    """Return the preStop hook of kafkastore from the manifest."""
    for manifest in overlay.build(overlay.find("local")):
        if (manifest["kind"], manifest["metadata"]["name"]) == ("StatefulSet", "tracker"):
            kafkastore = manifest["spec"]["template"]["spec"]["initContainers"][1]
            command: list[str] = kafkastore["lifecycle"]["preStop"]["exec"]["command"]
            return command
    raise AssertionError("no tracker")


async def read_ledger(url: str) -> Ledger:
    async with Redis.from_url(url) as redis:
        return await EventQueue(redis).ledger()


@pytest.mark.slow
def test_acknowledged_events_are_in_kafka_before_the_pod_ends(local_stack: LocalStack) -> None:
    stack = local_stack
    tracker = stack.start_service("tracker")
    # Small batches and a pause: acknowledged events are still in the list when the pod must end.
    kafkastore = stack.start_service("kafkastore", env={"KAFKASTORE_BATCH_EVENTS": "100"})
    stack.wait_until_ready()
    command = [sys.executable if word == "python" else word for word in hook()]
    command[command.index("9464")] = tracker.env["INTERNAL_PORT"]
    body = b"\n".join(b'{"type":"view","params":{"di":"d%d"}}' % number for number in range(EVENTS))
    kafkastore.process.send_signal(signal.SIGSTOP)
    connection = HTTPConnection(urlsplit(stack.tracker_url).netloc, timeout=20)
    connection.request("POST", "/batch", body, {"Content-Type": "application/x-ndjson"})
    assert connection.getresponse().status == HTTPStatus.OK
    connection.close()
    waited = subprocess.Popen(command, env=os.environ | {"REDIS_URL": stack.redis_url})
    try:
        tracker.stop()
        assert asyncio.run(read_ledger(stack.redis_url)).waiting >= EVENTS
        assert waited.poll() is None, "the hook has not waited"
        kafkastore.process.send_signal(signal.SIGCONT)
        assert waited.wait(60) == 0
    finally:
        waited.kill()
        waited.wait()
    kafkastore.stop()
    ledger = asyncio.run(read_ledger(stack.redis_url))
    assert ledger.accepted >= EVENTS
    assert (ledger.waiting, ledger.unaccounted) == (0, 0)
