"""A handler for tests, and the processes of its consumer and its worker. Its actions do what their events ask for.

Run as `python tests/contract/actions/proof.py worker`, `... consumer`, or `... bare`: a Celery worker with the same
settings and without our consumer, for comparison.
"""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from redis import Redis

from services.backbone import names
from services.backbone.clients import RequestRefused, ServiceFailed, ServiceUnavailable
from services.backbone.events import EncodedEvent, InvalidEvent, parameter
from services.backbone.schedule import JobPlan, ScheduledJob
from services.consumers.core.actions import ActionRule
from services.consumers.handlers.acting import ActionHandler
from services.consumers.handlers.clients import ActionClients

if TYPE_CHECKING:
    from services.consumers.settings import Settings

NAME = "proof"
JOB = "proof_job"
RUNS = "proof:runs"
EFFECTS = "proof:effects"
BEGUN = "proof:begun"
BARE_TASK = BARE_QUEUE = "proof.bare"
AWAY = "proof:away"


class Proof(msgspec.Struct, frozen=True):
    """What an action does, and a value of any kind."""

    number: str
    do: str = "act"
    seconds: float = 0.0
    value: Any = None


def read(event: EncodedEvent) -> Proof:
    text = event.params.decode()
    seconds = parameter(text, "seconds") or "0"
    if not seconds.replace(".", "").isdigit():
        raise InvalidEvent(f"seconds: {seconds!r} is not a number")
    return Proof(
        parameter(text, "number") or "",
        parameter(text, "do") or "act",
        float(seconds),
        msgspec.json.decode(parameter(text, "value") or "null"),
    )


async def act(_: ActionClients, arguments: Proof, __: str) -> None:
    """Note the beginning, do what is asked, and note the effect."""
    with Redis.from_url(os.environ["PROOF_REDIS_URL"]) as redis:
        redis.hincrby(BEGUN, arguments.number, 1)
        if redis.exists(AWAY) or arguments.do == "time_out":
            raise ServiceUnavailable("away")
        if arguments.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif arguments.do == "fail":
            raise ValueError(f"no {arguments.number}")
        elif arguments.do == "fail_once" and int(redis.hget(BEGUN, arguments.number) or 0) == 1:
            raise ServiceFailed("status 500")
        elif arguments.do == "refuse" or (
            arguments.do == "refuse_once" and int(redis.hget(BEGUN, arguments.number) or 0) == 1
        ):
            raise RequestRefused("status 422")
        elif arguments.do == "block":
            time.sleep(arguments.seconds)  # noqa: ASYNC251 - a handler that blocks is what is tested
        await asyncio.sleep(arguments.seconds)
        redis.rpush(EFFECTS, msgspec.json.encode([arguments.number, arguments.value]))


RULE = ActionRule(NAME, frozenset({b"proof"}), read)
HANDLERS = {NAME: ActionHandler(RULE, Proof, act)}


def run_bare(settings: "Settings") -> None:
    """Run tasks that sleep 20 ms and note their number."""
    from services.consumers.store.celery_queues import create_celery  # noqa: PLC0415 - as in main

    app = create_celery(settings)
    redis = Redis.from_url(os.environ["PROOF_REDIS_URL"])

    @app.task(name=BARE_TASK)  # type: ignore[untyped-decorator]
    def act(number: int) -> None:
        time.sleep(0.02)
        redis.rpush(EFFECTS, msgspec.json.encode([str(number), None]))

    app.Worker(queues=BARE_QUEUE, quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True).start()


async def run_job() -> str:
    """Note the begin, and do what the test has asked for."""
    with Redis.from_url(os.environ["PROOF_REDIS_URL"]) as redis:
        redis.rpush(RUNS, f"begun {time.time_ns() // 1_000_000}")
        do = os.environ.get("PROOF_JOB_DO", "act")
        if do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "fail":
            raise ValueError("no")
        await asyncio.sleep(float(os.environ.get("PROOF_JOB_S", "0")))
        redis.rpush(RUNS, "ended")
        return "noted"


# A plan with six fields begins with the second, so that a test sees several planned times within seconds.
PLAN = JobPlan(JOB, os.environ.get("PROOF_JOB_CRON", "*/2 * * * * *"), "Notes its runs.")
JOBS = {JOB: ScheduledJob(PLAN, run_job)}


def main() -> None:
    from services.backbone.logs import configure_logging  # noqa: PLC0415 - Celery must be imported after the variable
    from services.backbone.process import run_until_stopped  # noqa: PLC0415
    from services.consumers.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env(os.environ)
    if sys.argv[1] == "celery":
        os.environ["REMAP_SIGTERM"] = "SIGQUIT"
        from services.consumers.tasks import run_celery_worker  # noqa: PLC0415

        configure_logging(service="proof.celery", level="INFO", output="json")
        sys.exit(run_celery_worker(settings, HANDLERS, JOBS, name=sys.argv[2]))
    if sys.argv[1] == "bare":
        run_bare(settings)
        return
    if sys.argv[1] == "beat":
        from services.consumers.worker.beat_process import run_schedule  # noqa: PLC0415

        run_until_stopped(partial(run_schedule, settings, (PLAN,)), settings, service="proof.beat")
        return
    if sys.argv[1] == "consumer":
        from services.consumers.worker.acting_process import run_action_consumer  # noqa: PLC0415

        names.EVENTS_TOPIC = os.environ["PROOF_TOPIC"]  # type: ignore[misc]
        names.consumer_group = lambda _: os.environ["PROOF_GROUP"]  # type: ignore[assignment]
        run_until_stopped(partial(run_action_consumer, RULE, settings), settings, service="proof.consumer")
        return
    from services.backbone.celery_worker import worker_name  # noqa: PLC0415
    from services.consumers.worker.celery_worker import run_worker  # noqa: PLC0415

    name = worker_name()
    command = (sys.executable, __file__, "celery", name)
    run_until_stopped(
        partial(run_worker, settings, (NAME,), name=name, command=command), settings, service="proof.worker"
    )


if __name__ == "__main__":
    main()
