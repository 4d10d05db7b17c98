"""The platform from outside: a copy of the tree, the tasks, the published ports, and the API of the engine."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

ROOT = Path(__file__).parents[2]
STANDINS = Path(__file__).parent / "standins"
CATALOG = tomllib.loads((ROOT / "deploy" / "catalog.toml").read_text())["containers"]
WATCHED = {name for name, row in CATALOG.items() if "service" in row and row["kind"] not in ("job", "store")}
"""The containers that Prometheus scrapes."""
TOOLS = ("operator", "visitors")
"""The containers of operators' tools. They have images, but no row in the catalog."""
PROJECT = "push-system"


def _prefix(name: str) -> str:
    """Return the first part of the names of a container's variables."""
    row = CATALOG[name]
    return str(row.get("prefix", row["service"].upper()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def copy_of_the_tree(folder: Path) -> Path:
    """List the tracked files and the new files that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build_network() -> str:
    """Return a compose file for a machine whose containers reach no package index: builds use the machine's network.

    It changes builds only. The containers run as they ship.
    """
    built = [*(name for name, row in CATALOG.items() if "service" in row), *TOOLS]
    return json.dumps({"services": {name: {"build": {"network": "host"}} for name in built}})


class Platform:
    """A copy of the tree, controlled by its tasks on one engine."""

    def __init__(self, tree: Path, docker_host: str, restart_engine: Callable[[], None]) -> None:
        self.tree = tree
        self._restart_engine = restart_engine
        self.ports = {
            name: free_port() for name, row in CATALOG.items() if "service" in row and row["kind"] == "server"
        }
        network = tree / "docker-compose" / "build-network.yml"
        network.write_text(build_network())
        files = (tree / "docker-compose" / "compose.yml", network)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TZ")}
        self.environ = kept | {
            "DOCKER_HOST": docker_host,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": ":".join(map(str, files)),
            **{f"{_prefix(name)}_PORT": str(port) for name, port in self.ports.items()},
            "PUSH_VERSION": "system",
        }

    def task(self, *words: str, fails: bool = False, timeout_s: float = 300, **environ: str) -> str:
        """Run `python3 tasks.py <words>` in the copy; return its output. The task must succeed, or fail when `fails` is
        set."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *words],
            cwd=self.tree, env={**self.environ, **environ}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"{' '.join(words)}: exit code {done.returncode}\n{output[-6000:]}"
        return output

    def spin_down(self, *words: str) -> None:
        """Spin down. If the engine still counts users of a removed network, follow the advice of the task."""
        try:
            self.task("docker.compose.spin-down", *words)
        except AssertionError as error:
            if "Restart the engine" not in str(error):
                raise
            self._restart_engine()
            self.task("docker.compose.spin-down", *words)

    def docker(self, *words: str) -> str:
        done = subprocess.run(["docker", *words], env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout

    def compose(self, *words: str) -> str:
        files = self.tree / "docker-compose"
        return self.docker("compose", "--project-directory", str(files), "--env-file", str(self.tree / ".env"), *words)

    def containers(self) -> dict[str, Any]:
        """Return the engine's data of each container, by its name in the compose files."""
        ids = self.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        rows = json.loads(self.docker("inspect", *ids)) if ids else []
        return {row["Config"]["Labels"]["com.docker.compose.service"]: row for row in rows}

    def left(self) -> str:
        of_project = ("--filter", f"label=com.docker.compose.project={PROJECT}")
        return "".join(
            self.docker(*words, *of_project)
            for words in (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q"))
        )

    @property
    def tracker_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['tracker']}"

    @contextlib.asynccontextmanager
    async def kafidx(self) -> AsyncIterator["Kafidx"]:
        async with self.client("kafidx") as http:
            yield Kafidx(http)

    def client(self, service: str) -> aiohttp.ClientSession:
        """Return an HTTP client of a service with the name and the password of its operators.

        By default, the name is the prefix of the service's variables.
        """
        lines = (line.partition("=") for line in (self.tree / ".env").read_text().splitlines())
        password = {name: value for name, _, value in lines}[f"{_prefix(service)}_PASSWORD"]
        login = {
            "Authorization": "Basic " + base64.b64encode(f"{_prefix(service).lower()}:{password}".encode()).decode()
        }
        return aiohttp.ClientSession(f"http://127.0.0.1:{self.ports[service]}", headers=login)

    def metrics(self, name: str) -> dict[str, float]:
        """Return the samples of a container's internal port, which is not published."""
        program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
        text = self.docker("exec", self.containers()[name]["Id"], "python", "-c", program)
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {sample: float(value) for sample, _, value in lines}


class Kafidx:
    """A client of kafidx with the password."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def counts(self, counter: str) -> dict[str, int]:
        """Return the rows of a counter, or nothing while kafidx or its Redis is down."""
        try:
            async with self._http.get(f"/consumers/{counter}/data", timeout=aiohttp.ClientTimeout(10)) as response:
                table = await response.json() if response.ok else {"rows": []}
        except (aiohttp.ClientError, TimeoutError):
            return {}
        return {row["label"]: row["count"] for row in table["rows"]}

    @contextlib.asynccontextmanager
    async def live(self, query: str) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
        """Open the live view; yield a function that returns the next frame."""
        async with self._http.ws_connect(f"/kafidx/socket?{query}", max_msg_size=0) as socket_:

            async def frame() -> dict[str, Any]:
                found: dict[str, Any] = await socket_.receive_json(timeout=30)
                return found

            yield frame


class Visitors:
    """Sends events of one type. Each has its own id and is sent again with it until the response is 2xx."""

    def __init__(self, url: str, event_type: str, *, rate: float = 60) -> None:
        self._url = url
        self._type = event_type
        self._pause_s = 1 / rate
        self._stopped = asyncio.Event()
        self.responded: dict[str, float] = {}
        """Return the time of the 2xx response to each id."""
        self.broken = 0

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._sending = asyncio.create_task(self._send_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        try:
            await asyncio.wait_for(self._sending, 60)
        finally:
            await self._http.close()

    async def _send_on(self) -> None:
        async with asyncio.TaskGroup() as requests:
            number = 0
            while not self._stopped.is_set():
                requests.create_task(self._send(f"{self._type}-{number}"))
                number += 1
                await asyncio.sleep(self._pause_s)

    async def _send(self, event_id: str) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.get(
                    f"{self._url}/system/{self._type}.gif?n=1", headers={"Idempotency-Key": event_id}
                ) as response:
                    if response.ok:
                        self.responded[event_id] = time.monotonic()
                        return
            self.broken += 1
            await asyncio.sleep(0.2)


async def until(condition: Callable[[], Awaitable[object]], what: str, *, limit_s: float) -> None:
    """Return when the condition holds; otherwise fail with its last message."""
    last: object = None
    try:
        async with asyncio.timeout(limit_s):
            while not (last := await condition()):  # noqa: ASYNC110 - what is waited for is elsewhere
                await asyncio.sleep(0.25)  # no event signals it, so poll
    except TimeoutError:
        raise AssertionError(f"not within {limit_s} s: {what} (last: {last})") from None
