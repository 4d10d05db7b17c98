"""The Celery application, and sending of actions to its queues.

Celery is the executor and not the memory: its Redis transport takes a task and notes it as unacknowledged in two steps,
so a kill between them loses the task. The consumers send such a task again (core/flights.py).
"""

from collections.abc import Iterable
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from services.backbone import names
from services.backbone.celery_worker import SOFT_SHUTDOWN_S
from services.consumers.core.flights import Send
from services.consumers.settings import Settings

QueueUnavailable = OperationalError
"""Raised when Redis does not take a task. It may have taken the task."""

_SOCKET_TIMEOUT_S: Final = 5.0
_KEEP_PINGS_S: Final = 600.0
"""If a worker dies, nobody else reads its queue of pings."""


def create_celery(settings: Settings) -> Celery:
    """Return the application without tasks. It connects at the first use."""
    limit_s = settings.time_limit_s
    app = Celery("push", broker=settings.actions_redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        # Only JSON: a pickle in the queue would run code.
        accept_content=["json"],
        task_serializer="json",
        # The reports of actions are in Redis already (ActionStore).
        task_ignore_result=True,
        result_backend=None,
        # A task is acknowledged at its end, so that Redis keeps the task of a killed worker.
        task_acks_late=True,
        # Off: a task that kills its process would be delivered again at once. It ran 8 times in 30 s. The consumer
        # counts starts and sends it again instead.
        task_reject_on_worker_lost=False,
        # A process takes the next task when it has finished the one before. A task taken ahead waits behind a slow one.
        worker_prefetch_multiplier=1,
        task_time_limit=limit_s,
        task_soft_time_limit=settings.soft_time_limit_s,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
        worker_concurrency=settings.worker_processes,
        # Our own logs (backbone.logs). Nobody may stop a worker through Redis. Events are for Flower only.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=settings.sends_events,
        # A worker waits for Redis at its start as long as later.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A consumer that can't send reports it at once, and sends again itself.
        task_publish_retry=False,
        broker_transport_options={
            # At least twice the limit (settings.py).
            "visibility_timeout": settings.visibility_timeout_s,
            # Expired tasks are looked for every 5 s. By default it is every 10th of 10 s, so every 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            # Without limits a client waits for ever when the address of Redis vanishes.
            "socket_timeout": _SOCKET_TIMEOUT_S,
            "socket_connect_timeout": _SOCKET_TIMEOUT_S,
            "socket_keepalive": True,
        },
    )
    return app


def declare_pings(app: Celery, worker: str) -> str:
    """Declare the queue that only one worker reads, and return its name.

    Each worker has another name, so Redis must not keep the queue. With `expires`, the list expires, and Celery deletes
    the keys that bind the queue to its exchange. The worker and the sender of pings must both declare it so.
    """
    name = names.ping_queue(worker)
    app.amqp.queues.add(name, exchange=name, exchange_type="direct", routing_key=name, expires=_KEEP_PINGS_S)
    return name


class ActionQueues:
    """Sends actions to the Celery queue of their handler. Its methods block; call them in a thread."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, sends: Iterable[Send]) -> None:
        """Send actions. Raises QueueUnavailable; then some of them may be in the queue."""
        with self._app.producer_pool.acquire(block=True) as producer:
            for action, is_probe in sends:
                self._send(
                    producer,
                    names.ACT_TASK,
                    [action.handler, action.id, action.arguments, is_probe],
                    names.action_queue(action.handler),
                )

    def ping(self, worker: str) -> None:
        """Send a task that only this worker receives. Raises QueueUnavailable."""
        with self._app.producer_pool.acquire(block=True) as producer:
            self._send(producer, names.PING_TASK, [worker], declare_pings(self._app, worker))

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def _send(self, producer: Any, task: str, arguments: list[object], queue: str) -> None:
        self._app.send_task(task, arguments, queue=queue, producer=producer, ignore_result=True)
