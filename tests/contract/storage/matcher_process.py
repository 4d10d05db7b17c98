"""A process that matches and notifies until it is killed.

Arguments: the URL of MongoDB, the database, and the URL of the notificationserver.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from services.backbone.clients import NotificationClient
from services.storage.store import connect
from tests.contract.storage.storing import AT_ONCE, Storage

ROOT = Path(__file__).parents[3]


def start(mongo: str, database: str, notifications: str) -> subprocess.Popen[bytes]:
    """Start the process. End it with `kill` and `wait`."""
    command = [sys.executable, "-m", "tests.contract.storage.matcher_process", mongo, database, notifications]
    return subprocess.Popen(command, cwd=ROOT)


async def main(mongo: str, database: str, notifications: str) -> None:
    """Match and notify."""
    async with connect(mongo) as client, NotificationClient(notifications) as sender, asyncio.TaskGroup() as tasks:
        storage = Storage(client[database], sender, settings=AT_ONCE)
        tasks.create_task(storage.matcher.run())
        tasks.create_task(storage.notifier.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
