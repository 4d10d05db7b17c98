import signal
import sys

from services.backbone.celery_worker import celery_worker, worker_name


def test_each_worker_has_a_name_of_its_own() -> None:
    assert worker_name() != worker_name()


async def test_worker_gets_sigterm_at_the_end_of_the_block() -> None:
    async with celery_worker((sys.executable, "-c", "import time; time.sleep(60)")) as process:
        assert process.returncode is None
    assert process.returncode == -signal.SIGTERM
