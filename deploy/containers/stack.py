"""Start the compose files and wait until they are healthy, show their logs and addresses, and remove them."""

import math
import os
import shlex
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterable, Mapping, Sequence

from deploy import catalog
from deploy.catalog import Container
from deploy.containers import engine, images
from deploy.errors import OperatorError

VISITORS = "visitors"
_PROFILES = {"observability", "load", "nfs", images.FLOWER}
_POLL_S = 0.5
_LOG_LINES = 12
_LOG_WIDTH = 300
_START_TIMEOUT_S = 300
_HEAL_S = 20.0


def create_periphery() -> None:
    """Start the dependencies of the services: networks, volumes, data stores, topics. Raises OperatorError."""
    rows = catalog.load().containers.values()
    names = [row.name for row in rows if row.kind in ("store", "job") and not row.profile]
    _require(names, build=False)
    _bring_up(names, profiles=(), timeout_s=_START_TIMEOUT_S)


def spin_up(*, build: bool, profiles: Sequence[str], timeout_s: float = _START_TIMEOUT_S) -> None:
    """Start everything of these profiles, and return when all of it is healthy.

    Raises OperatorError with the failed containers and the end of their logs.
    """
    unknown = set(profiles) - _PROFILES
    if unknown:
        raise OperatorError(
            f"--profile {', '.join(sorted(unknown))}: unknown profile. Use one of {', '.join(sorted(_PROFILES))}."
        )
    rows = catalog.load().containers.values()
    names = [row.name for row in rows if not row.profile or row.profile in profiles]
    if "load" in profiles:
        names.append(VISITORS)
    if images.FLOWER in profiles:
        names.append(images.FLOWER)
    _require(names, build=build)
    _bring_up(names, profiles=profiles, timeout_s=timeout_s)
    print_urls()


def spin_down(*, keep_data: bool, yes: bool, ask: Callable[[str], str] = input) -> None:
    """Stop and remove containers and networks, and the data unless `keep_data`.

    Raises OperatorError when the removal of the data is not confirmed, and when anything is left afterwards.
    """
    engine.require_engine()
    volumes = [line for line in engine.left_over(volumes=True) if line.startswith("volume ")]
    if volumes and not keep_data and not yes and not _agrees(ask, len(volumes)):
        raise OperatorError("nothing was removed. Use --keep-data to keep the data, or --yes to remove it.")
    removal = ["--volumes"] * (not keep_data)
    # Compose needs only the names of the variables here. The template has all of them, so this also works without .env.
    command = engine.compose("--profile", "*", "down", "--remove-orphans", *removal, dotenv=engine.TEMPLATE)
    try:
        engine.run(command, failed="the removal failed")
    except OperatorError as error:
        raise OperatorError(f"{error}{_of_miscounted(engine.left_over(volumes=False))}") from None
    left = engine.left_over(volumes=not keep_data)
    if left:
        raise OperatorError(f"not removed: {', '.join(left)}")
    print("containers and networks are removed" + ("; the data is kept" if keep_data else ", and the data"))


def _of_miscounted(left: Iterable[str]) -> str:
    """Return a hint when the engine keeps a network that no container uses: its count of endpoints is wrong.

    Observed on engine 20.10 after containers had restarted. A restart of the engine corrects the count.
    """
    networks = [line.removeprefix("network ") for line in left if line.startswith("network ")]
    stuck = [name for name in networks if engine.held_by_nobody(name)]
    if not stuck:
        return ""
    return (
        f"\nNo container uses {', '.join(stuck)}, but the engine counts endpoints.\n"
        "Restart the engine (systemctl restart docker), then run this again."
    )


def show_logs(service: str, *, follow: bool, since: str) -> None:
    """Print the logs of all containers or of one. Raises OperatorError."""
    engine.require_engine()
    present = engine.states()
    if not present:
        raise OperatorError("no container runs, so there are no logs. Start them with docker.compose.spin-up.")
    if service and service not in present:
        raise OperatorError(f"--service {service}: unknown container. Use one of {', '.join(sorted(present))}.")
    words = [*(["--follow"] * follow), *(["--since", since] if since else []), *([service] if service else [])]
    command = engine.compose("--profile", "*", "logs", *words, dotenv=engine.TEMPLATE)
    engine.run(command, failed="reading the logs failed")


def open_urls(*, only_print: bool) -> None:
    """Print the addresses of the pages and, in a desktop session, open them in a browser. Raises OperatorError."""
    engine.require_engine()
    urls = print_urls()
    if not urls:
        raise OperatorError("no container runs. Start them with docker.compose.spin-up.")
    if not only_print and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        for url in urls.values():
            webbrowser.open(url)


def print_urls() -> dict[str, str]:
    """Print and return the published addresses of running containers, by name."""
    present = engine.states()
    urls = {row.name: url for row in _edge() if row.name in present and (url := _url(row))}
    for name, url in urls.items():
        print(f"{name}: {url}")
    return urls


def run_inside(command: str) -> int:
    """Run an operators' task in a container that reaches the stores. Returns its exit code."""
    words = shlex.split(command)
    if not words:
        raise OperatorError('--command is missing: docker.compose.run --command "status"')
    engine.require_engine()
    engine.require_dotenv()
    _require_images([images.OPERATOR])
    if not engine.states():
        raise OperatorError("no container runs. Start them with docker.compose.spin-up.")
    without_terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--no-TTY"]
    line = engine.compose("run", "--rm", "--no-deps", "--quiet-pull", *without_terminal, images.OPERATOR, *words)
    return subprocess.run(line, cwd=engine.FILES, check=False).returncode


def _edge() -> list[Container]:
    return [row for row in catalog.load().containers.values() if row.kind == "server"]


def _url(row: Container) -> str:
    # It is empty when the container has not published a port yet or has just ended.
    try:
        place = engine.ask(*engine.compose("--profile", "*", "port", row.name, str(row.port), dotenv=engine.TEMPLATE))
    except OperatorError:
        return ""
    return f"http://{place.strip()}{row.page}"


def _agrees(ask: Callable[[str], str], volumes: int) -> bool:
    try:
        reply = ask(f"Remove the data of {volumes} volumes: events, counters, positions? [y/N] ")
    except EOFError:
        return False
    return reply.strip().lower() in ("y", "yes")


def _require(names: Sequence[str], *, build: bool) -> None:
    """Return when engine, settings and images are available. Builds with `build`, and pulls third-party images."""
    engine.require_engine()
    engine.require_dotenv()
    if build:
        images.build("")
        if images.FLOWER in names:
            images.build(images.FLOWER)
    found = catalog.load()
    rows = [found.containers[name] for name in names if name in found.containers]
    ours = {row.service for row in rows if row.service} | ({images.OPERATOR} if VISITORS in names else set())
    ours |= {images.FLOWER} & set(names)
    _require_images(sorted(ours))
    for key in sorted({row.image for row in rows if row.image}):
        if not engine.has_image(found.images[key]):
            print(f"pulling {found.images[key]}", flush=True)
            engine.run(["docker", "pull", found.images[key]], failed=f"pulling {found.images[key]} failed")


def _require_images(ours: Iterable[str]) -> None:
    missing = [images.reference(image) for image in ours if not engine.has_image(images.reference(image))]
    if missing:
        raise OperatorError(f"not built yet: {', '.join(missing)}. Run docker.images.build, or spin-up --build.")


def _bring_up(names: Sequence[str], *, profiles: Sequence[str], timeout_s: float) -> None:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    command = engine.compose(*chosen, "up", "--detach", "--no-build", *names)
    begun = time.monotonic()
    # A container that failed earlier may be replaced now, or may recover when its dependencies start.
    earlier = {state.id for state in engine.states().values()}
    with subprocess.Popen(
        command, cwd=engine.FILES, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as starting:
        try:
            _wait_until_up(starting, names, earlier=earlier, timeout_s=timeout_s)
        except BaseException:
            starting.terminate()
            raise
    print(f"everything is healthy after {time.monotonic() - begun:.0f} s", flush=True)


def _wait_until_up(
    starting: subprocess.Popen[str], names: Sequence[str], *, earlier: set[str], timeout_s: float
) -> None:
    """Report progress while Compose starts the containers. Raises OperatorError when the start can't succeed."""
    begun = time.monotonic()
    all_started_s = math.inf
    reported: dict[str, str] = {}
    while True:
        ended = starting.poll()
        present = engine.states()
        _report_changes(names, present, reported, time.monotonic() - begun)
        if ended == 0 and all(name in present and present[name].is_up for name in names):
            return
        if ended is not None:
            all_started_s = min(all_started_s, time.monotonic())
        had_time = time.monotonic() - all_started_s > _HEAL_S
        known = {name: present[name] for name in names if name in present}
        judged = {name: state for name, state in known.items() if had_time or state.id not in earlier}
        if ended or any(state.error for state in judged.values()):
            raise _failure("did not come up", judged, starting)
        if time.monotonic() - begun > timeout_s:
            raise _failure(f"some containers are not healthy after {timeout_s:.0f} s", known, starting)
        time.sleep(_POLL_S)


def _report_changes(
    names: Iterable[str], present: Mapping[str, engine.State], reported: dict[str, str], elapsed_s: float
) -> None:
    for name in names:
        state = str(present[name]) if name in present else ""
        if state != reported.get(name, ""):
            reported[name] = state
            print(f"{elapsed_s:5.0f} s  {name}: {state or 'removed'}", flush=True)


def _failure(what: str, candidates: Mapping[str, engine.State], starting: subprocess.Popen[str]) -> OperatorError:
    """Return the failed containers with the end of their logs, and the error of Compose."""
    waiting = {name: state for name, state in candidates.items() if not state.is_up}
    faulty = {name: state for name, state in waiting.items() if state.error}
    # Omit containers that only wait for a failed one or for Compose.
    late = {} if starting.poll() else {name: state for name, state in waiting.items() if state.status != "created"}
    blamed = faulty or late
    paragraphs = [
        f"{name} {state.error or f'is {state}'}; its last lines:\n{_log_tail(state)}" for name, state in blamed.items()
    ]
    if starting.poll():
        reply = (starting.stdout.read() if starting.stdout else "").strip().splitlines()
        paragraphs.append("Compose: " + (reply[-1].strip() if reply else "no error message"))
    return OperatorError("\n\n".join([f"{what}:", *paragraphs]))


def _log_tail(state: engine.State) -> str:
    done = subprocess.run(
        ["docker", "logs", "--tail", str(_LOG_LINES), state.id],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    return "\n".join("    " + line[:_LOG_WIDTH] for line in done.stdout.splitlines()) or "    (its log is empty)"
