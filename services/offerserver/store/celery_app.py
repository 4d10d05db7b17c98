"""The Celery application of the schedule.

Its tasks are checks (`backbone.schedule`): a lost one loses nothing. So they are acknowledged when they begin, and no
task can be delivered twice because its run takes long.
"""

from typing import Final

from celery import Celery

from services.backbone.celery_worker import SOFT_SHUTDOWN_S
from services.offerserver.settings import Settings

_KILL_AFTER_S: Final = 10
_SOCKET_TIMEOUT_S: Final = 5.0


def create_celery(settings: Settings, *, processes: int = 1) -> Celery:
    """Return the application without tasks. It connects at the first use. A worker has `processes`."""
    app = Celery("offers", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        # Only JSON: a pickle in the queue would run code.
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        # A process takes the next task when it has finished the one before.
        worker_prefetch_multiplier=1,
        # A run of a large feed takes memory that Python keeps.
        worker_max_tasks_per_child=500,
        task_soft_time_limit=settings.run_limit_s,
        task_time_limit=settings.run_limit_s + _KILL_AFTER_S,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
        worker_concurrency=processes,
        # Our own logs (backbone.logs). Nobody may stop a worker through Redis.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Without limits a client waits for ever when the address of Redis vanishes.
            "socket_timeout": _SOCKET_TIMEOUT_S,
            "socket_connect_timeout": _SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
        },
    )
    return app
