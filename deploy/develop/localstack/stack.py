"""The local stack: Redis, a Kafka broker, and the services that the caller starts."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy import catalog
from deploy.catalog import Container
from deploy.develop.geoip import bundled_database
from deploy.develop.localstack.kafka import KafkaBroker, KafkaChoice, choose_kafka
from deploy.develop.localstack.mongo import MongoChoice, MongoServer, choose_mongo
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.redis import LocalRedis, RedisChoice
from deploy.develop.localstack.scratch import Scratch
from deploy.develop.localstack.services import ServiceProcess
from deploy.interrupts import exit_on_signals, undisturbed

TOPIC_PARTITIONS = 4
MAX_EVENT_BYTES = 262_144
_MONGO_URLS = ("STORAGE_MONGO_URL", "NOTIFY_MONGO_URL", "IMAGESERVER_MONGO_URL")


class LocalStack:
    """Real servers on free loopback ports with their data in a scratch folder. Use it as a context manager.

    Entering starts Redis, the broker and, if `mongo` is set, MongoDB in parallel, waits until all respond, and creates
    the topics. Leaving stops the services in the reverse order of their start, then the servers, and deletes the data.
    Logs stay in `log_directory`. When this process is killed, the kernel kills all processes of the stack.
    """

    def __init__(
        self,
        *,
        kafka: KafkaChoice = "auto",
        redis: RedisChoice = "auto",
        mongo: MongoChoice | None = None,
        keep_data: bool = False,
        say: Callable[[str], object] = print,
    ) -> None:
        self._kafka_choice = kafka
        self._redis_choice = redis
        self._mongo_choice = mongo
        self._mongo: MongoServer | None = None
        self._keep_data = keep_data
        self._say = say
        self._cleanup = contextlib.ExitStack()
        self._services: dict[str, ServiceProcess] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(exit_on_signals())
            kind = choose_kafka(self._kafka_choice, self._say)
            self._scratch = Scratch(keep_data=self._keep_data)
            cleanup.callback(self._scratch.close)
            self.redis = self._redis_server("redis")
            self.kafka = KafkaBroker(kind, data=self._scratch.data / "kafka", log=self._scratch.logs / "kafka.log")
            if self._mongo_choice:
                self._mongo = self._mongo_server(self._mongo_choice)
            self._start_servers(cleanup)
            cleanup.callback(self._stop_services)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._say(f"logs: {self.log_directory}")
        with undisturbed():
            self._cleanup.__exit__(kind, error, trace)

    @property
    def redis_url(self) -> str:
        """The URL of the first Redis."""
        return self.redis.url

    @property
    def mongo(self) -> MongoServer:
        """The MongoDB server. Raises LookupError in a stack without one."""
        if self._mongo is None:
            raise LookupError("This stack has no MongoDB: LocalStack(mongo=...).")
        return self._mongo

    @property
    def bootstrap_servers(self) -> str:
        """The broker's host:port."""
        return self.kafka.bootstrap_servers

    @property
    def kafka_idempotence(self) -> bool:
        """Whether the broker supports idempotent producers."""
        return self.kafka.idempotence

    @property
    def log_directory(self) -> Path:
        """The folder with a log file for each process."""
        return self._scratch.logs

    @property
    def data_directory(self) -> Path:
        """The folder with one subfolder for each server's data. It is deleted with the stack."""
        return self._scratch.data

    @property
    def services(self) -> tuple[ServiceProcess, ...]:
        """The services in the order of their start."""
        return tuple(self._services.values())

    @property
    def tracker_url(self) -> str:
        """The public URL of the tracker that was started last, without a trailing slash."""
        trackers = [service for service in self.services if service.name == "tracker"]
        if not trackers:
            raise LookupError("No tracker was started in this stack.")
        return f"http://{LOOPBACK}:{trackers[-1].env['TRACKER_PORT']}"

    @property
    def kafidx_url(self) -> str:
        """The public URL of kafidx, without a trailing slash."""
        return f"http://{LOOPBACK}:{self.service('kafidx').env['KAFIDX_PORT']}"

    @property
    def storage_url(self) -> str | None:
        """The public URL of storage, without a trailing slash. None if it was not started."""
        storage = self._services.get("storage")
        return f"http://{LOOPBACK}:{storage.env['STORAGE_PORT']}" if storage else None

    @property
    def notify_url(self) -> str | None:
        """The public URL of the notificationserver, without a trailing slash. None if it was not started."""
        server = self._services.get("notificationserver")
        return f"http://{LOOPBACK}:{server.env['NOTIFY_PORT']}" if server else None

    def service(self, label: str) -> ServiceProcess:
        """Return a started service by its label. Raises KeyError."""
        return self._services[label]

    def start_service(
        self,
        name: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        label: str | None = None,
        within: Sequence[str] = (),
    ) -> ServiceProcess:
        """Start `python -m services.<name> <arguments>` and return at once (see wait_until_ready).

        `env` is added to environment(). By default, the label is the name and the arguments, joined with dots. If the
        label is in use, a number is added.
        """
        base = label or ".".join((name, *arguments))
        unique = base
        number = 1
        while unique in self._services:
            number += 1
            unique = f"{base}-{number}"
        service = ServiceProcess(
            name,
            *arguments,
            label=unique,
            logs=self.log_directory,
            env=self.environment() | dict(env or {}),
            within=within,
        )
        self._services[unique] = service
        service.start()
        return service

    def wait_until_ready(self) -> None:
        """Return when every running service is ready. Raises ProcessFailed when a service has ended."""
        for service in self.services:
            service.wait_until_ready()

    def environment(self) -> dict[str, str]:
        """Return the environment of services: addresses of servers and of started services, free ports, JSON logs."""
        return {
            "REDIS_URL": self.redis_url,
            "COUNTERS_REDIS_URL": self.redis_url,
            "ACTIONS_REDIS_URL": self.redis_url,
            "OFFERS_REDIS_URL": self.redis_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_IDEMPOTENCE": "on" if self.kafka_idempotence else "off",
            "LOG_FORMAT": "json",
            "MAX_EVENT_BYTES": str(MAX_EVENT_BYTES),
            "TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
            "GEOIP_DATABASE": str(bundled_database() or ""),
            **{found.port_variable: str(free_port()) for found in _servers()},
            "NOTIFY_REDIS_URL": self.redis_url,
            **(dict.fromkeys(_MONGO_URLS, self._mongo.url) if self._mongo else {}),
            **self._service_addresses(),
        }

    def _service_addresses(self) -> dict[str, str]:
        """Return the address variables of the catalog for started servers, with their ports on loopback.

        An address of an internal port becomes those of all started processes of the service, separated by commas.
        """
        found: dict[str, str] = {}
        for row in _servers():
            started = [service for service in self.services if service.name == row.service]
            for variable, address in catalog.load().addresses.items():
                public, internal = f"//{row.name}:{row.port}", f"//{row.name}:{catalog.INTERNAL_PORT}"
                if started and public in address:
                    found[variable] = address.replace(public, f"//{LOOPBACK}:{started[-1].env[row.port_variable]}")
                elif started and internal in address:
                    found[variable] = ",".join(service.internal_url for service in started)
        return found

    def start_redis(self, name: str) -> LocalRedis:
        """Start another Redis and return it when it responds. It stops with the stack."""
        server = self._redis_server(name)
        self._cleanup.callback(server.process.stop)
        server.start()
        server.wait_ready()
        return server

    def ensure_topics(self) -> None:
        """Create the missing topics, for example after a restart of a broker without persistence."""
        # Imported here, because every task imports this module and the Kafka client loads slowly.
        from services.backbone.kafka import ensure_topics, topic_plans  # noqa: PLC0415 - the reason is above

        plans = topic_plans(partitions=TOPIC_PARTITIONS, replication=1, max_event_bytes=MAX_EVENT_BYTES)
        _run_apart(lambda: asyncio.run(ensure_topics(self.bootstrap_servers, plans)))

    def _start_servers(self, cleanup: contextlib.ExitStack) -> None:
        servers: list[LocalRedis | KafkaBroker | MongoServer] = [self.redis, self.kafka]
        if self._mongo:
            servers.append(self._mongo)
        # The data is deleted afterwards, so the stack soon kills a server that stops slowly.
        cleanup.callback(_stop_all, [server.process for server in servers])
        self._say("starting " + ", ".join(["Redis", self.kafka.title, *(["MongoDB"] if self._mongo else [])]))
        for server in servers:
            server.start()
        self.redis.wait_ready()
        if self._mongo:
            # Before the broker, which takes longest: this call makes the replica set, and its election takes time.
            self._mongo.wait_ready()
        self.kafka.wait_ready()
        self.ensure_topics()

    def _redis_server(self, name: str) -> LocalRedis:
        data = self._scratch.data / name
        return LocalRedis(data=data, log=self.log_directory / f"{name}.log", choice=self._redis_choice, name=name)

    def _mongo_server(self, choice: MongoChoice) -> MongoServer:
        kind = choose_mongo(choice, self._say)
        data = self._scratch.data / "mongo"
        return MongoServer(kind, data=data, log=self.log_directory / "mongo.log", say=self._say)

    def _stop_services(self) -> None:
        _stop_all([service.process for service in reversed(self.services)])


def _servers() -> list[Container]:
    return [found for found in catalog.load().watched if found.port]


def _stop_all(processes: list[LocalProcess]) -> None:
    """Stop processes in parallel: send SIGTERM to all, then wait for each and kill it at the timeout."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.stop()


def _run_apart(work: Callable[[], object]) -> None:
    """Run a function in its own thread, because the caller may be inside an event loop."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread, below
            failures.append(error)

    thread = threading.Thread(target=run, name="localstack-topics")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
