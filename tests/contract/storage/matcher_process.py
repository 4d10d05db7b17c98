"""A process that matches and notifies until it is stopped, or kills itself at a named point.

Arguments: the URL of MongoDB, the database, the URL of the notificationserver, and optionally a point and the number
of passes after which the process kills itself there.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from services.backbone.clients import NotificationClient
from services.storage.store import connect
from tests.contract.storage.storing import AT_ONCE, Storage

ROOT = Path(__file__).parents[3]


def start(mongo: str, database: str, notifications: str, *kill_at: str) -> subprocess.Popen[bytes]:
    """Start the process. End it with `kill` and `wait`."""
    command = [sys.executable, "-m", "tests.contract.storage.matcher_process", mongo, database, notifications]
    return subprocess.Popen([*command, *kill_at], cwd=ROOT)


async def main(mongo: str, database: str, notifications: str, point: str = "", passes: str = "1") -> None:
    """Match and notify."""
    passed: Counter[str] = Counter()

    def at_point(name: str) -> None:
        passed[name] += 1
        if name == point and passed[name] == int(passes):
            os.kill(os.getpid(), signal.SIGKILL)

    async with connect(mongo) as client, NotificationClient(notifications) as sender, asyncio.TaskGroup() as tasks:
        storage = Storage(client[database], sender, settings=AT_ONCE, at_point=at_point)
        tasks.create_task(storage.matcher.run())
        tasks.create_task(storage.notifier.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
