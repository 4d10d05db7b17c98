"""Apache Kafka from its jars: Maven resolves them once into the user's cache, and Java runs them."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.errors import OperatorError

_POM = Path(__file__).with_name("kafka-pom.xml")
_OLDEST_JAVA = 17
_MAVEN_TIMEOUT_S = 600

# A short-lived broker gains more from a fast start than from peak throughput.
_JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


class Unavailable(OperatorError):
    """Apache Kafka can't run here. The message is the reason."""


def cache_folder() -> Path:
    """Return the cache that all clones share: $PUSH_CACHE, else ~/.cache/push."""
    return Path(os.environ.get("PUSH_CACHE") or Path.home() / ".cache" / "push")


def jars_folder() -> Path:
    """Return the folder of the jars. Its name contains a digest of the POM, so versions never mix."""
    return cache_folder() / f"kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"


def ensure_jars(say: Callable[[str], object]) -> Path:
    """Return the folder of the jars. Resolve them at the first use, and raise Unavailable when that fails.

    The folder is renamed into place when it is complete, so an interrupted resolve leaves no incomplete one.
    Concurrent processes wait for each other.
    """
    _require_java()
    jars = jars_folder()
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Maven (mvn) is not installed and Apache Kafka's jars are not in the cache.")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with (jars.parent / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            say("First use of Apache Kafka here: downloading it with Maven (55 MB, about a minute) ...")
            _resolve(maven, jars)
    return jars


def _resolve(maven: str, jars: Path) -> None:
    partial = jars.with_name(jars.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    launcher = Path(__file__).with_name("die_with_parent.py")
    resolve = [
        *(maven, "--batch-mode", "--quiet", "--file", str(_POM), "dependency:copy-dependencies"),
        *(f"-DoutputDirectory={partial}", "-DincludeScope=runtime"),
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), *resolve],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven did not finish within {_MAVEN_TIMEOUT_S} s.") from None
    if done.returncode != 0 or not any(partial.glob("kafka_*.jar")):
        last = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[:6])
        raise Unavailable(f"Maven could not download Apache Kafka:\n    {last}")
    partial.rename(jars)


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
    """Return the command line of a broker on this port: format the data folder if it is new, then serve."""
    settings = data / "server.properties"
    settings.write_text(_properties(port, free_port(), data / "log"), encoding="utf-8")
    java = ["java", *_JVM, "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", f"{jars_folder()}/*"]
    cluster = "cHVzaC1sb2NhbHN0YWNrIQ"  # any 16 bytes in base64: each data folder is its own cluster
    return [
        *(*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "kafka.tools.StorageTool", "format"),
        *("--ignore-formatted", "--cluster-id", cluster, "--config", str(settings)),
        "--then",
        *(*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "kafka.Kafka", str(settings)),
    ]


def environment() -> dict[str, str]:
    """Return the environment of the broker: that of this process, so that `java` is found."""
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
