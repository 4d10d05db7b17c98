"""An NFS server and a machine with an NFS client, in a network namespace that the test makes.

The kernel here may have no NFS client, so the client is Debian's user-mode-linux: a Linux kernel that is a process. Its
root is the root of this machine, and its network card is a tap device. The server is the one that ships: `start.sh` of
services/imageserver.nfs, with Debian's nfs-ganesha and exactly the capabilities of its container.
"""

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "services" / "imageserver.nfs"
CAPABILITIES = ("chown", "dac_override", "dac_read_search", "fowner", "setgid", "setuid")
SERVER_ADDRESS, GUEST_ADDRESS = "10.77.0.1", "10.77.0.2"
MONGO_PORT = 27_017
MONGO_URL = f"mongodb://{SERVER_ADDRESS}:{MONGO_PORT}/?replicaSet=rs0"
OURS = "hard,noatime,lookupcache=positive"
"""The mount options of the PersistentVolume, beside the version."""
DEFAULT = "hard"
MARK = "result "
"""The start of a line on the console that is a result."""
_MODULES = (
    *("net/dns_resolver/dns_resolver", "net/sunrpc/sunrpc", "fs/nfs_common/grace", "fs/nfs_common/nfs_acl"),
    *("fs/netfs/netfs", "fs/fscache/fscache", "fs/lockd/lockd", "fs/nfs/nfs", "fs/nfs/nfsv4"),
)


def build(source: Path, target: Path, *options: str) -> Path:
    """Compile a C program as the image of the server does, but with all warnings as errors."""
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(source), *options]
    subprocess.run(command, check=True, timeout=60)
    return target


class Namespace:
    """A network of its own, with a tap device, and mounts of its own: `volume` is at the place of the server's."""

    def __init__(self, volume: Path) -> None:
        setup = f"""
            set -e
            mount --bind {shlex.quote(str(volume))} /var/lib/push/nfs
            ip link set lo up
            ip tuntap add tap0 mode tap
            ip addr add {SERVER_ADDRESS}/24 dev tap0
            ip link set tap0 up
            echo ready
            exec sleep infinity
        """
        Path("/var/lib/push/nfs").mkdir(parents=True, exist_ok=True)
        command = ["unshare", "--net", "--mount", "sh", "-c", setup]
        self._keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"

    def command(self, *words: str | Path) -> list[str]:
        """Return a command that runs another one in this namespace."""
        return ["nsenter", f"--target={self._keeper.pid}", "--net", "--mount", *map(str, words)]

    def close(self) -> None:
        with self._keeper:
            self._keeper.kill()


class NfsServer:
    """The process of the server."""

    def __init__(self, namespace: Namespace, log: Path) -> None:
        self._namespace = namespace
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *capabilities: str) -> list[str]:
        bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        return self._namespace.command("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", SERVICE / "start.sh")

    def start(self, *, clients: str = f"{GUEST_ADDRESS}/32") -> None:
        environ = {"PATH": os.environ["PATH"], "NFS_CLIENTS": clients}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command(*CAPABILITIES), stdout=log, stderr=log, env=environ)

    def is_ready(self, check: Path) -> bool:
        """Return whether the readiness check of the image succeeds."""
        return self.check(check)[0] == 0

    def check(self, check: Path) -> tuple[int, str]:
        """Return the exit code and the output of the readiness check of the image."""
        command = self._namespace.command(check)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return done.returncode, done.stdout + done.stderr

    def wait_until_ready(self, check: Path, *, limit_s: float = 20) -> float:
        """Return the seconds until the server was ready."""
        began = time.monotonic()
        while not self.is_ready(check):
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() - began < limit_s, self._log.read_text()[-4000:]
            time.sleep(0.2)
        return time.monotonic() - began

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None


class Guest:
    """A machine with an NFS client. It runs one scene of `guest.py`, which reports results by name."""

    def __init__(self, namespace: Namespace, preload: Path, place: Path) -> None:
        self._namespace = namespace
        self._preload = preload
        self._place = place
        self._results: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lines: list[str] = []

    @contextlib.contextmanager
    def run(self, scene: str, *arguments: str) -> Iterator[Self]:
        """Start the machine and the scene; stop the machine at the end."""
        init = self._place / "init"
        of_scene = shlex.join([sys.executable, "-B", "-m", "tests.nfs.guest", scene, *arguments])
        modules = "/usr/lib/uml/modules/$(uname -r)/kernel"
        init.write_text(
            "#!/bin/sh\n"
            "export PATH=/usr/sbin:/sbin:/usr/bin:/bin\n"
            "mount -t proc proc /proc\nmount -t sysfs sysfs /sys\n"
            "mount -t tmpfs tmpfs /mnt\nmkdir /dev/shm\nmount -t tmpfs tmpfs /dev/shm\n"
            f"ip link set lo up\nip addr add {GUEST_ADDRESS}/24 dev vec0\nip link set vec0 up\n"
            f"for module in {' '.join(_MODULES)}; do insmod {modules}/$module.ko; done\n"
            f"PYTHONPATH={shlex.quote(str(ROOT))} {of_scene}\n"
            f"echo '{MARK}null'\nsleep infinity\n"
        )
        init.chmod(0o755)
        options = ["mem=1G", "rootfstype=hostfs", "rootflags=/", "rw", "vec0:transport=tap,ifname=tap0,gro=1"]
        command = self._namespace.command("env", f"LD_PRELOAD={self._preload}", "linux.uml", *options, f"init={init}")
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._place), "TMPDIR": str(self._place)}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True, env=environ,
        ) as machine:  # fmt: skip
            reading = threading.Thread(target=self._read, args=(machine,))
            reading.start()
            try:
                yield self
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(machine.pid, signal.SIGKILL)
                machine.wait()
                reading.join()

    def _read(self, machine: "subprocess.Popen[str]") -> None:
        assert machine.stdout is not None
        for line in machine.stdout:
            self._lines.append(line)
            if line.startswith(MARK):
                self._results.put(json.loads(line.removeprefix(MARK)))
        self._results.put(None)

    def result(self, name: str, *, limit_s: float) -> Any:
        """Return the next result, which must have this name."""
        try:
            found = self._results.get(timeout=limit_s)
        except queue.Empty:
            raise AssertionError(f"no result {name} after {limit_s} s:\n{self.console}") from None
        assert found is not None, f"the machine ended before the result {name}:\n{self.console}"
        assert found["name"] == name, found
        return found["value"]

    @property
    def console(self) -> str:
        return "".join(self._lines[-60:])
