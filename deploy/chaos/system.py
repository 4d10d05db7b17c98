"""The system under test: two trackers with a spool each, two kafkastores, two consumers, and Redis behind a relay."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterable
from http.client import HTTPException

from deploy.chaos import verify
from deploy.chaos.clock import Clock, find_library, remove_leftovers
from deploy.chaos.disk import SmallDisk, can_mount
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.relay import Relay
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.status import TIMING_COUNTER, TYPES_COUNTER

CONSUMERS = (TYPES_COUNTER, TIMING_COUNTER)
"""The statistics consumers of the run. The result compares the counts of the first one with the topic."""
WITH_CLOCK = ("tracker-2", "kafkastore-2", TYPES_COUNTER)
"""Services with an adjustable clock. The others start without libfaketime."""
WITH_SMALL_DISK = "tracker-2"

_LEASE_S = 5  # short, so that the claims of a killed kafkastore are released soon
_DISK_BYTES = 4_194_304  # slightly larger than one segment of the spool
_SMALL_SPOOL_BYTES = 262_144  # used without a small disk: full after a few seconds of an outage
_POLL_S = 0.2


class ChaosSystem:
    """All processes of the run, with methods to stop and heal them; see `running`."""

    def __init__(self, stack: LocalStack, relay: Relay) -> None:
        self.stack = stack
        self.relay = relay
        self.trackers: list[ServiceProcess] = []
        self.kafkastores: list[ServiceProcess] = []
        self.consumers: list[ServiceProcess] = []
        self.clocks: dict[str, Clock] = {}
        self.disk: SmallDisk | None = None
        self.died: list[str] = []
        """Reports of processes that ended unexpectedly."""
        self._down: set[str] = set()
        self._pids: set[int] = set()

    @property
    def services(self) -> list[ServiceProcess]:
        """All services of Push."""
        return [*self.trackers, *self.kafkastores, *self.consumers]

    @property
    def redis(self) -> LocalProcess:
        """The process of Redis."""
        return self.stack.redis.process

    @property
    def broker(self) -> LocalProcess:
        """The process of the broker."""
        return self.stack.kafka.process

    @property
    def tracker_ports(self) -> list[int]:
        """The public ports of the trackers."""
        return [int(tracker.env["TRACKER_PORT"]) for tracker in self.trackers]

    async def take_down(self, process: LocalProcess, *, kill: bool = False) -> None:
        """Stop a process as its supervisor does (SIGTERM), or kill it. `heal` starts it again."""
        self._down.add(process.name)
        await asyncio.to_thread(process.kill if kill else process.stop)

    async def heal(self) -> None:
        """Undo every fault. Returns when all processes are ready. Raises ProcessFailed."""
        self.relay.heal()
        for clock in self.clocks.values():
            clock.step(0)
        if self.disk is not None:
            self.disk.free()
        for process in (self.redis, self.broker, *(service.process for service in self.services)):
            process.send_signal(signal.SIGCONT)
            self._start_if_down(process)
        await asyncio.to_thread(self._wait_ready)
        self._down.clear()

    def _start_if_down(self, process: LocalProcess) -> None:
        if process.is_alive:
            return
        if process.name not in self._down:
            self.died.append(f"{process.name} ended unexpectedly with exit code {process.exit_code}")
        process.start()
        self._pids.add(process.pid)

    def _wait_ready(self) -> None:
        self.stack.redis.wait_ready()
        self.stack.kafka.wait_ready()
        if not self.stack.kafka.idempotence:
            self.stack.ensure_topics()
        for service in self.services:
            service.wait_until_ready()

    async def ledger(self) -> verify.SystemLedger | None:
        """Return the ledger from /metrics, or None when a process does not respond or can't read its Redis."""
        try:
            trackers = [await asyncio.to_thread(tracker.metrics) for tracker in self.trackers]
            return verify.parse_ledger(await asyncio.to_thread(self.kafkastores[0].metrics), trackers)
        except (OSError, HTTPException):
            return None

    async def wait_until_drained(self, *, waiting: int, limit_s: float) -> float | None:
        """Wait until at most `waiting` events are in the queue. Return the seconds, or None at the time limit."""
        begun = time.monotonic()
        while time.monotonic() - begun < limit_s:
            ledger = await self.ledger()
            if ledger is not None and ledger.waiting <= waiting:
                return time.monotonic() - begun
            await asyncio.sleep(_POLL_S)
        return None

    def reset_clocks(self) -> None:
        """Delete the files of libfaketime that killed processes have left."""
        for pid in self._pids:
            remove_leftovers(pid)

    def start(self, *, clocks: bool) -> None:
        """Start every service and return when all are ready."""
        library = find_library() if clocks else None
        data = self.stack.data_directory
        if can_mount():
            self.disk = SmallDisk(data / "small-disk", size=_DISK_BYTES, log=self.stack.log_directory / "disk.log")
            self.disk.start()
        redis_url = f"redis://{LOOPBACK}:{self.relay.port}/0"
        common = {
            "REDIS_URL": redis_url,
            "COUNTERS_REDIS_URL": redis_url,
            "KAFKASTORE_LEASE_S": str(_LEASE_S),
            "TRACKER_DRAIN_S": "0.3",
            "TRACKER_SPOOL_AFTER_S": "0.5",
        }

        def start(name: str, *arguments: str, label: str, within: Iterable[str] = (), **env: str) -> ServiceProcess:
            own = common | env
            if library is not None and label in WITH_CLOCK:
                self.clocks[label] = Clock(library, data / f"{label}.clock")
                own |= self.clocks[label].environment
            service = self.stack.start_service(name, *arguments, label=label, env=own, within=tuple(within))
            self._pids.add(service.pid)
            return service

        for label in ("tracker-1", "tracker-2"):
            spool = {"TRACKER_SPOOL_DIRECTORY": str(data / f"{label}-spool")}
            within: tuple[str, ...] = ()
            if label == WITH_SMALL_DISK and self.disk is not None:
                spool["TRACKER_SPOOL_DIRECTORY"] = str(data / "small-disk" / "spool")
                within = self.disk.within
            elif label == WITH_SMALL_DISK:
                spool["TRACKER_SPOOL_BYTES"] = str(_SMALL_SPOOL_BYTES)
            self.trackers.append(start("tracker", label=label, within=within, **spool))
        self.kafkastores += [start("kafkastore", label=label) for label in ("kafkastore-1", "kafkastore-2")]
        self.consumers += [start("consumers", name, label=name) for name in CONSUMERS]
        self._wait_ready()


@contextlib.asynccontextmanager
async def running(stack: LocalStack, *, clocks: bool = True) -> AsyncIterator[ChaosSystem]:
    """Start the services of a chaos run on an empty stack, and kill them at the end.

    With `clocks` some of them start with libfaketime, if it is installed.
    """
    async with Relay(stack.redis.port) as relay:
        system = ChaosSystem(stack, relay)
        try:
            await asyncio.to_thread(system.start, clocks=clocks)
            yield system
        finally:
            # The stack stops its servers with SIGTERM, which a process in SIGSTOP can't handle. So continue all
            # processes.
            for process in (system.redis, system.broker, *(service.process for service in system.services)):
                process.send_signal(signal.SIGCONT)
            for service in system.services:
                await asyncio.to_thread(service.kill)
            if system.disk is not None:
                system.disk.stop()
            system.reset_clocks()
