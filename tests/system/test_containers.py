"""From images to a counted pixel, then a kill of each container. The tests run in the order of an operator."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.system.platform import CATALOG, WATCHED, Platform, Visitors, until

STARTED = [name for name, row in CATALOG.items() if not row.get("profile")]
GOES_ON = [name for name in STARTED if CATALOG[name]["kind"] != "job"]
COUNTERS = {"event_counter": 1, "metadata_counter": 3, "timing_stats": 1}

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


# The first test: on a new machine it waits some minutes until the engine and the stand-ins are built.
@pytest.mark.timeout(1500)
def test_engine_has_nothing_of_ours_at_first(platform: Platform) -> None:
    assert platform.left() == ""


# Images -----------------------------------------------------------------------------------------------------------


def test_spin_up_names_the_build_task_when_images_are_missing(platform: Platform) -> None:
    output = platform.task("docker.compose.spin-up", fails=True, PUSH_VERSION="never-built")
    assert "not built yet: push/canary:never-built, push/consumers:never-built" in output
    assert "docker.images.build" in output
    assert platform.containers() == {}


def test_images_are_built(platform: Platform) -> None:
    output = platform.task("docker.images.build", timeout_s=390)
    services = {row["service"] for row in CATALOG.values() if "service" in row}
    for service in services | {"operator"}:
        assert f"push/{service}:system" in output


def test_image_contains_only_its_service_and_backbone_and_runs_as_non_root(platform: Platform) -> None:
    [image] = json.loads(platform.docker("image", "inspect", "push/kafidx:system"))
    assert image["Config"]["User"] == "10001:10001"
    assert image["Config"]["StopSignal"] == "SIGTERM"
    assert image["Config"]["Labels"]["org.opencontainers.image.version"] == "system"
    listing = platform.docker(
        "run", "--rm", "--entrypoint", "ls", "push/kafidx:system", "/opt/push", "/opt/push/services"
    )
    assert set(listing.split()) == {
        "/opt/push:", "services", "venv", "/opt/push/services:", "__init__.py", "__pycache__", "backbone", "kafidx",
    }  # fmt: skip


async def test_image_is_pushed_to_a_registry(platform: Platform, registry: str, tmp_path: Path) -> None:
    async with aiohttp.ClientSession(f"http://{registry}") as http:

        async def responses() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get("/v2/") as response:
                    return response.ok
            return False

        await until(responses, "the registry answers", limit_s=20)
        # An empty image is enough: a push sends the tagged image, and a complete one takes longer.
        (tmp_path / "nothing.tar").write_bytes(bytes(10_240))
        platform.docker("import", str(tmp_path / "nothing.tar"), "push/topics:empty")
        target = f"{registry}/team/push/topics:empty"
        output = platform.task(
            "docker.images.push", "--service", "topics", "--registry", f"{registry}/team", PUSH_VERSION="empty"
        )
        assert f"1 of 1: {target}" in output
        async with http.get("/v2/team/push/topics/tags/list") as response:
            assert (await response.json())["tags"] == ["empty"]
    platform.docker("rmi", target, "push/topics:empty")


# Up ---------------------------------------------------------------------------------------------------------------


def test_periphery_contains_stores_and_topics(platform: Platform) -> None:
    platform.task("docker.compose.create-periphery")
    present = platform.containers()
    jobs = {name for name in STARTED if CATALOG[name]["kind"] == "job"}
    assert set(present) == {name for name in STARTED if CATALOG[name]["kind"] == "store"} | jobs
    assert {present[name]["State"]["ExitCode"] for name in jobs} == {0}


def test_spin_up_prints_the_last_lines_of_a_container_when_it_cannot_run(platform: Platform) -> None:
    output = platform.task("docker.compose.spin-up", fails=True, KAFKASTORE_LEASE_S="1")
    assert "kafkastore ends repeatedly" in output
    assert "KAFKASTORE_LEASE_S: Input should be greater than or equal to 3" in output
    assert "tracker is" not in output


def test_spin_up_reports_a_port_when_it_is_in_use(platform: Platform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = platform.task("docker.compose.spin-up", fails=True, TRACKER_PORT=port)
    [reason] = [line for line in output.splitlines() if line.startswith("Compose: ")]
    assert port in reason
    assert "its last lines" not in output


def test_spin_up_starts_everything_healthy(platform: Platform) -> None:
    output = platform.task("docker.compose.spin-up", "--profile", "load", VISITORS_RATE="5")
    assert "everything is healthy" in output
    present = platform.containers()
    assert set(present) == {*STARTED, "visitors"}
    for name in (*GOES_ON, "visitors"):
        assert present[name]["State"]["Health"]["Status"] == "healthy", name
    assert f"tracker: {platform.tracker_url}" in output


def test_containers_are_confined(platform: Platform) -> None:
    for name, row in platform.containers().items():
        host = row["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert row["Config"]["User"].split(":")[0].isdecimal(), name
        pid = row["State"]["Pid"]
        if pid:
            [uids] = [line for line in _proc(pid, "status") if line.startswith("Uid:")]
            assert "0" not in uids.split()[1:], f"{name} runs as root"
            [effective] = [line for line in _proc(pid, "status") if line.startswith("CapEff:")]
            assert int(effective.split()[1], 16) == 0, name


def test_only_published_ports_listen_and_only_on_loopback(platform: Platform) -> None:
    published = {
        name: [(place["HostIp"], int(place["HostPort"])) for places in ports.values() for place in places or ()]
        for name, row in platform.containers().items()
        if any((ports := row["NetworkSettings"]["Ports"]).values())
    }
    assert published == {name: [("127.0.0.1", port)] for name, port in platform.ports.items()}


@pytest.mark.parametrize(
    ("name", "target", "reached"),
    [
        ("tracker", "tracker-redis", True),
        ("tracker", "kafka", False),
        ("tracker", "counters-redis", False),
        ("kafidx", "tracker-redis", False),
        ("canary", "tracker", True),
        ("kafkastore", "counters-redis", False),
        ("storage", "mongo", True),
        ("storage", "tracker", True),
        ("storage", "kafka", False),
        ("tracker", "mongo", False),
    ],
)
def test_store_is_not_resolvable_when_the_catalog_forbids_the_connection(
    platform: Platform,
    name: str,
    target: str,
    reached: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    program = f"import socket; socket.create_connection(({target!r}, {CATALOG[target]['port']}), 3); print('there')"
    shell = f'python -c "{program}" 2>/dev/null || echo away'
    output = platform.docker("exec", platform.containers()[name]["Id"], "sh", "-c", shell)
    assert output.strip() == ("there" if reached else "away")


# The journey ------------------------------------------------------------------------------------------------------


async def test_pixel_is_shown_live_and_counted(platform: Platform) -> None:
    async with platform.kafidx() as kafidx, kafidx.live("filter=first") as frame:
        assert (await frame())["kind"] == "hello"
        async with Visitors(platform.tracker_url, "first") as visitors:
            rows: list[dict[str, Any]] = []
            async with asyncio.timeout(60):
                while len(rows) < 5:
                    rows += (await frame()).get("rows", [])
        assert {row["type"] for row in rows} == {"first"}
        await until(
            lambda: _counted(platform, "first", len(visitors.responded)), "counted exactly once each", limit_s=30
        )


async def test_offer_and_search_become_messages_and_three_events(platform: Platform) -> None:
    async with (
        platform.client("notificationserver") as http,
        http.post("/register", json={"device_id": "system /offers", "callback_url": "http://kafka:9092/"}) as response,
    ):
        assert response.status == 200, await response.text()

    place = {"keywords": ["bread"], "location": {"type": "Point", "coordinates": [13.4, 52.5]}, "radius": 500}
    async with platform.client("storage") as http:
        for path, text in (("/offers", "fresh bread"), ("/searches", "bread")):
            async with http.post(path, json={"owner": f"system {path}", "text": text, **place}) as response:
                assert response.status == 200, await response.text()

    async def sent() -> bool:
        # A callback to an own network is refused and attempted again. The other device has no channel.
        found = platform.metrics("notificationserver")
        return (
            found.get('push_notify_messages_total{state="sent"}') == 1
            and found.get('push_notify_messages_total{state="unreachable"}') == 1
            and found.get('push_notify_attempts_total{channel="callback",result="retry"}', 0) >= 1
        )

    await until(sent, "both sides have a message, and the callback was refused", limit_s=30)

    async def counted() -> bool:
        async with platform.kafidx() as kafidx:
            events = await kafidx.counts("event_counter")
        return {"offr[create]", "srch[create]", "mtf"} <= events.keys()

    await until(counted, "the events of the changes and of the match are counted", limit_s=30)


async def test_synthetic_visitors_are_counted_by_every_consumer(platform: Platform) -> None:
    async def all_counted() -> bool:
        async with platform.kafidx() as kafidx:
            return all([await kafidx.counts(counter) for counter in ("search_counter", *COUNTERS)])

    await until(all_counted, "each counter has rows", limit_s=60)


async def test_prometheus_scrapes_every_internal_port(platform: Platform) -> None:
    # Start it by its name, because its profile also contains Grafana, which has no stand-in.
    platform.compose("up", "--detach", "--no-build", "--no-deps", "prometheus")

    async def up() -> set[str]:
        query = ("promtool", "query", "instant", "http://127.0.0.1:9090", "up == 1")
        with contextlib.suppress(AssertionError):  # it does not respond yet
            output = platform.docker("exec", platform.containers()["prometheus"]["Id"], *query)
            return set(re.findall(r'job="([^"]+)"', output))
        return set()

    async def all_up() -> bool:
        return await up() == WATCHED

    await until(all_up, "every target is up", limit_s=60)
    platform.compose("rm", "--stop", "--force", "prometheus")


def test_tasks_of_operators_run_inside(platform: Platform) -> None:
    status = json.loads(platform.task("docker.compose.run", "--command", "status --json").splitlines()[-1])
    assert status["ledger"]["balanced"]
    assert status["kafka"] == "ok"
    assert set(status["counters"]) == {*COUNTERS, "search_counter"}
    assert platform.task("docker.compose.run", "--command", "erase --id device-001 --yes")
    dead_letters = platform.task("docker.compose.run", "--command", "dead.list --since 2h --json").splitlines()[-1]
    assert json.loads(dead_letters)["total"] == 0
    platform.task("docker.compose.run", "--command", "dead.replay --dry-run")


def test_logs_and_addresses_are_printed(platform: Platform) -> None:
    assert "topics_ready" in platform.task("docker.compose.logs", "--service", "topics", "--since", "1h")
    assert "Use one of action-worker, actions" in platform.task("docker.compose.logs", "--service", "x", fails=True)
    assert f"tracker: {platform.tracker_url}/" in platform.task("docker.compose.open-urls", "--only-print")


# A kill of each container ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOES_ON)
async def test_killed_container_restarts_and_no_acknowledged_event_is_lost(platform: Platform, name: str) -> None:
    event_type = f"kill-{name}"
    before = platform.containers()[name]
    async with Visitors(platform.tracker_url, event_type) as visitors:
        await until(lambda: _responded(visitors, 30), "visitors are answered", limit_s=20)
        killed_s = time.monotonic()
        # A signal from outside the engine: after `docker kill` the restart policy does not apply.
        os.kill(before["State"]["Pid"], signal.SIGKILL)

        async def healed() -> bool:
            state = platform.containers()[name]
            restarted: bool = state["RestartCount"] > before["RestartCount"]
            return restarted and state["State"]["Health"]["Status"] == "healthy"

        await until(healed, f"{name} is healthy again", limit_s=90)
        healed_s = time.monotonic()
        await until(lambda: _responded_after(visitors, healed_s, 30), "visitors are answered again", limit_s=20)
    if name != "tracker":
        # While another container is down, the tracker responds and visitors notice nothing.
        assert visitors.broken == 0
        assert sum(killed_s < at < healed_s for at in visitors.responded.values()) > 0
    await until(
        lambda: _counted(platform, event_type, len(visitors.responded)),
        "each event is counted exactly once",
        limit_s=60,
    )


async def _responded(visitors: Visitors, count: int) -> bool:
    return len(visitors.responded) >= count


async def _responded_after(visitors: Visitors, moment_s: float, count: int) -> bool:
    return sum(at > moment_s for at in visitors.responded.values()) >= count


async def _counted(platform: Platform, event_type: str, count: int) -> bool:
    async with platform.kafidx() as kafidx:
        found = (await kafidx.counts("event_counter")).get(event_type, 0)
    assert found <= count, f"{found} counted of {count} sent"
    return found == count


def _proc(pid: int, file: str) -> list[str]:
    with open(f"/proc/{pid}/{file}", encoding="utf-8") as lines:  # noqa: PTH123 - a file of the kernel's
        return lines.read().splitlines()


# Down -------------------------------------------------------------------------------------------------------------


def test_ledger_balances_after_all_kills(platform: Platform) -> None:
    status = json.loads(platform.task("docker.compose.run", "--command", "status --json").splitlines()[-1])
    assert status["ledger"]["balanced"]
    assert status["ledger"]["dead"] == 0


async def test_spin_down_keeps_data_when_asked(platform: Platform) -> None:
    async with platform.kafidx() as kafidx:
        before = (await kafidx.counts("event_counter"))["first"]
    offers = await _offers(platform)
    assert len(offers) == 1
    platform.spin_down("--keep-data")
    assert platform.containers() == {}
    platform.task("docker.compose.spin-up", "--build")
    async with platform.kafidx() as kafidx:
        assert (await kafidx.counts("event_counter"))["first"] == before
    assert await _offers(platform) == offers


async def _offers(platform: Platform) -> list[dict[str, Any]]:
    async with platform.client("storage") as http, http.get("/offers") as response:
        found: list[dict[str, Any]] = (await response.json())["data"]
    return found


def test_spin_down_keeps_data_without_confirmation(platform: Platform) -> None:
    output = platform.task("docker.compose.spin-down", fails=True)
    assert "nothing was removed" in output
    assert set(platform.containers()) == set(STARTED)


def test_spin_down_leaves_nothing(platform: Platform) -> None:
    platform.spin_down("--yes")
    assert platform.left() == ""
