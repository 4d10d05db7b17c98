"""A broker with the Kafka protocol: Apache Kafka if Java and Maven are installed, else Tansu from its wheel."""

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, get_args

from deploy.develop.localstack import apache, tansu
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError

KafkaKind = Literal["apache", "tansu"]
KafkaChoice = Literal["auto", "apache", "tansu"]

_START_TIMEOUT_S = 60
_METADATA, _METADATA_VERSION, _CORRELATION = 3, 1, 7


def choose_kafka(choice: KafkaChoice, say: Callable[[str], object]) -> KafkaKind:
    """Resolve `auto`, and download Apache Kafka's jars when it is chosen.

    If Apache Kafka can't run here, `apache` raises apache.Unavailable, and `auto` prints the reason and returns tansu.
    """
    if choice not in get_args(KafkaChoice):
        raise OperatorError(f"--kafka {choice}: unknown broker. Use one of {', '.join(get_args(KafkaChoice))}.")
    if choice == "tansu":
        return "tansu"
    try:
        apache.ensure_jars(say)
    except apache.Unavailable as reason:
        if choice == "apache":
            raise
        say(f"Kafka: Tansu (in memory), because {reason}")
        return "tansu"
    return "apache"


class KafkaBroker:
    """A broker on loopback without authentication and without automatic creation of topics."""

    def __init__(self, kind: KafkaKind, *, data: Path, log: Path) -> None:
        self.kind = kind
        self.port = free_port()
        self.bootstrap_servers = f"{LOOPBACK}:{self.port}"
        data.mkdir(parents=True, exist_ok=True)
        flavour: _Flavour = apache if kind == "apache" else tansu
        self.process = LocalProcess(
            f"kafka ({kind})", flavour.command(self.port, data), log=log, env=flavour.environment(), cwd=data
        )

    @property
    def title(self) -> str:
        """The broker's product name."""
        return "Apache Kafka" if self.kind == "apache" else "Tansu"

    @property
    def idempotence(self) -> bool:
        """Whether the broker responds to InitProducerId, which an idempotent producer needs (Tansu rejects it)."""
        return self.kind == "apache"

    def start(self) -> None:
        """Start the broker. It keeps its port, and Apache Kafka its data, over restarts."""
        self.process.start()

    def wait_ready(self) -> None:
        """Return when the broker reports a broker and a controller. Raises ProcessFailed."""
        self.process.wait_until(self.responds, timeout_s=_START_TIMEOUT_S)

    def responds(self) -> bool:
        """Return whether the response to a Metadata request contains a broker and a controller."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
                return _has_controller(_exchange(connection))
        except (OSError, struct.error):
            return False


class _Flavour(Protocol):
    """The interface of apache.py and tansu.py."""

    def command(self, port: int, data: Path) -> list[str]: ...
    def environment(self) -> dict[str, str]: ...


def _exchange(connection: socket.socket) -> bytes:
    """Send a Metadata request without topics (version 1, which every broker supports) and return the response."""
    client = b"localstack"
    request = struct.pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION, len(client)) + client
    request += struct.pack(">i", 0)
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as stream:
        (size,) = struct.unpack(">i", stream.read(4))
        return stream.read(size)


def _has_controller(reply: bytes) -> bool:
    """Parse `correlation, [id, host, port, rack], controller` up to the controller's id."""
    correlation, brokers = struct.unpack_from(">ii", reply)
    at = 8
    for _ in range(brokers):
        at += 4
        at += 2 + struct.unpack_from(">h", reply, at)[0] + 4
        at += 2 + max(0, struct.unpack_from(">h", reply, at)[0])
    (controller,) = struct.unpack_from(">i", reply, at)
    return bool(correlation == _CORRELATION and brokers > 0 and controller >= 0)
