"""Apache Kafka from its jars: Maven resolves them once into the user's cache, and Java runs them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.develop.localstack import cache
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.errors import OperatorError

_POM = Path(__file__).with_name("kafka-pom.xml")
_OLDEST_JAVA = 17
_MAVEN_TIMEOUT_S = 600

# A short-lived broker gains more from a fast start than from peak throughput.
_JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


class Unavailable(OperatorError):
    """Apache Kafka can't run here. The message is the reason."""


def jars_folder() -> Path:
    """Return the folder of the jars for kafka-pom.xml."""
    return cache.cache_folder() / f"kafka-{cache.digest(_POM)}"


def ensure_jars(say: Callable[[str], object]) -> Path:
    """Download the jars unless the cache contains them. Return their folder.

    Raises Unavailable if Apache Kafka can't run here.
    """
    _require_java()

    def fetch(partial: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable("Maven (mvn) is not installed and Apache Kafka's jars are not in the cache.")
        say("First use of Apache Kafka here: downloading it with Maven (55 MB, about a minute) ...")
        _resolve(maven, partial)

    return cache.ensure(jars_folder(), fetch)


def _resolve(maven: str, jars: Path) -> None:
    resolve = [
        *(maven, "--batch-mode", "--quiet", "--file", str(_POM), "dependency:copy-dependencies"),
        *(f"-DoutputDirectory={jars}", "-DincludeScope=runtime"),
    ]
    try:
        done = cache.run_bound(resolve, timeout_s=_MAVEN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven did not finish within {_MAVEN_TIMEOUT_S} s.") from None
    if done.returncode != 0 or not any(jars.glob("kafka_*.jar")):
        last = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[:6])
        raise Unavailable(f"Maven could not download Apache Kafka:\n    {last}")


def _require_java() -> None:
    java = shutil.which("java")
    if java is None:
        raise Unavailable(f"Java {_OLDEST_JAVA} or newer is not installed.")
    reply = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', reply)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        raise Unavailable(
            f"Java {_OLDEST_JAVA} or newer is needed, but `java -version` printed {reply.splitlines()[:1]}."
        )


def command(port: int, data: Path) -> list[str]:
    """Return the command line of a broker on this port. It formats a new data folder, then starts the broker."""
    settings = data / "server.properties"
    settings.write_text(_properties(port, free_port(), data / "log"), encoding="utf-8")
    java = ["java", *_JVM, "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", f"{jars_folder()}/*"]
    # 16 bytes in base64. All brokers can use the same id, because each broker is a separate cluster.
    cluster = "cHVzaC1sb2NhbHN0YWNrIQ"
    return [
        *(*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "kafka.tools.StorageTool", "format"),
        *("--ignore-formatted", "--cluster-id", cluster, "--config", str(settings)),
        "--then",
        *(*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "kafka.Kafka", str(settings)),
    ]


def environment() -> dict[str, str]:
    """Return the environment of the broker: a copy of the environment of this process. Its PATH contains `java`."""
    return dict(os.environ)


def _properties(port: int, controller_port: int, log: Path) -> str:
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log,
        "auto.create.topics.enable": "false",
        # One node: internal topics have one replica, and few partitions start faster.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # The first consumer of a group need not wait for others.
        "group.initial.rebalance.delay.ms": 0,
        "controlled.shutdown.enable": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
