"""The compose files contain the containers of the catalog, confined, with exactly the allowed connections."""

import importlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import catalog
from deploy.catalog import Container
from deploy.develop.dotenv import generated_secret
from services.backbone.settings import EnvSettings
from services.mongosetup.core import REPLICA_SET

FILES = Path(__file__).parents[1] / "docker-compose"
TEMPLATE = (FILES.parent / ".env.template").read_text()
CATALOG = catalog.load()
# Tools that are not in the catalog, since they run only on demand, and what each of them reaches.
TOOLS = {
    "visitors": ("tracker",),
    "operator": ("tracker-redis", "kafka", "counters-redis", "storage", "imageserver"),
    "flower": ("counters-redis",),
}
PAGES_OF_TOOLS = {"flower": 5555}
REACHES = {**{name: row.reaches for name, row in CATALOG.containers.items()}, **TOOLS}
NAMES = sorted(REACHES)
STORES = [name for name, row in CATALOG.containers.items() if row.kind == "store"]
OWN_IMAGES = [name for name, row in CATALOG.containers.items() if row.is_python]
NFS = "imageserver-nfs"
# Keys whose lists replace those of the extended file. Other lists are appended.
REPLACED = {"command", "entrypoint", "test"}


def merged(below: Any, above: Any, key: str = "") -> Any:
    """Merge as Compose does for `extends`. tests/system checks the result of the real Compose."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {name: merged(below[name], above[name], name) if name in below and name in above else
                (above if name in above else below)[name] for name in [*below, *(set(above) - set(below))]}  # fmt: skip
    if isinstance(below, list) and isinstance(above, list) and key not in REPLACED:
        return below + [item for item in above if item not in below]
    return above


@cache
def read(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FILES / file).read_text())
    return found


@cache
def resolved(file: str, service: str) -> dict[str, Any]:
    written: dict[str, Any] = dict(read(file)["services"][service])
    base = written.pop("extends", None)
    result: dict[str, Any] = (
        written if base is None else merged(resolved(base.get("file", file), base["service"]), written)
    )
    return result


def container(name: str) -> dict[str, Any]:
    return resolved(f"{name}.yml", name)


def row(name: str) -> Container:
    return CATALOG.containers[name]


def on(network: str) -> set[str]:
    return {name for name in NAMES if network in container(name)["networks"]}


MAIN = read("compose.yml")


# The files ----------------------------------------------------------------------------------------------------------


def test_files_match_the_containers_of_the_catalog() -> None:
    files = {path.stem for path in FILES.glob("*.yml")} - {"compose", "common", "services", "containers"}
    assert files == set(NAMES)
    included = [*MAIN["include"], *read("containers.yml")["include"]]
    assert sorted(included) == sorted([*(f"{name}.yml" for name in files), "containers.yml"])


@pytest.mark.parametrize("name", NAMES)
def test_file_contains_the_container_of_its_name_and_begins_with_its_purpose(name: str) -> None:
    assert list(read(f"{name}.yml")) == ["services"]
    assert list(read(f"{name}.yml")["services"]) == [name]
    assert (FILES / f"{name}.yml").read_text().startswith("# ")


@pytest.mark.parametrize("name", OWN_IMAGES)
def test_container_file_is_at_most_15_lines(name: str) -> None:
    assert len((FILES / f"{name}.yml").read_text().splitlines()) <= 15


@pytest.mark.parametrize("name", NAMES)
def test_profiles_match_the_catalog(name: str) -> None:
    of_tools = {"visitors": ["load"], "operator": ["tools"], "flower": ["flower"]}
    expected = of_tools[name] if name in TOOLS else [row(name).profile] if row(name).profile else []
    assert container(name).get("profiles", []) == expected


def test_volumes_are_declared_and_used() -> None:
    used = [
        match[1]
        for name in NAMES
        for volume in container(name).get("volumes", ())
        if (match := re.match(r"(?:\$\{\w+:-)?([a-z][a-z-]*)\}?:", volume))
    ]
    assert set(used) == set(MAIN["volumes"])


# Images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CATALOG.containers))
def test_images_match_the_catalog(name: str) -> None:
    image = container(name)["image"]
    if row(name).image:
        assert image == CATALOG.images[row(name).image]
        assert "build" not in container(name)
    elif name == NFS:
        assert image == f"push/{row(name).service}:${{PUSH_VERSION:-dev}}"
        assert container(name)["build"]["dockerfile"] == "services/imageserver.nfs/Dockerfile"
    else:
        assert image == f"push/{row(name).service}:${{PUSH_VERSION:-dev}}"
        assert container(name)["build"]["args"]["SERVICE"] == row(name).service
        assert tuple(container(name).get("command", ())) == row(name).arguments


def test_flower_has_the_broker_and_the_queues_of_the_actions() -> None:
    found = container("flower")
    assert found["image"] == "push/flower:${PUSH_VERSION:-dev}"
    assert (found["build"]["target"], found["build"]["args"]["SERVICE"]) == ("runtime", "flower")
    assert found["environment"]["CELERY_BROKER_URL"] == CATALOG.addresses["ACTIONS_REDIS_URL"]
    assert found["environment"]["FLOWER_READ_ONLY"] == "true"


# Confinement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_containers_are_confined(name: str) -> None:
    found = container(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "privileged" not in found
    assert found["security_opt"] == ["no-new-privileges:true"]
    if name != NFS:  # a file server creates files for other users
        assert "cap_add" not in found
        assert re.fullmatch(r"[1-9]\d*:\d+", found["user"]), "the user must be a number other than root's"
    assert found["mem_limit"] == found["memswap_limit"]
    assert found["pids_limit"] > 0
    assert found["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert found["stop_grace_period"]
    assert "/tmp" in [mount.partition(":")[0] for mount in found["tmpfs"]]  # noqa: S108 - the container's own


@pytest.mark.parametrize("name", NAMES)
def test_permanent_containers_have_a_restart_policy_and_a_health_check(name: str) -> None:
    found = container(name)
    ends = name == "operator" or (name not in TOOLS and row(name).kind == "job")
    assert found["restart"] == ("no" if ends else "unless-stopped")
    assert found["healthcheck"].get("disable", False) == ends
    if not ends:
        assert found["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= found["healthcheck"].keys()


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_published_by_servers_only_and_on_loopback(name: str) -> None:
    ports = container(name).get("ports", [])
    inside = PAGES_OF_TOOLS.get(name) if name in TOOLS else row(name).port if row(name).kind == "server" else None
    if inside is None:
        assert ports == []
        return
    [port] = ports
    assert re.fullmatch(rf"127\.0\.0\.1:\$\{{[A-Z]+_PORT:-{inside}\}}:{inside}", port)
    assert "edge" in container(name)["networks"]


def test_trackers_of_the_readme_have_different_ports() -> None:
    text = (FILES.parent / "services" / "tracker" / "README.md").read_text()
    [written] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    override = yaml.safe_load(written.replace("!override", ""))["services"]["tracker"]
    [published] = override["ports"]
    first, last, inside = map(int, re.findall(r":(\d+)-(\d+):(\d+)$", published)[0])
    assert override["scale"] == last - first + 1
    assert inside == row("tracker").port
    assert re.findall(r"server 127\.0\.0\.1:(\d+)", text) == [str(port) for port in range(first, last + 1)]


# Networks -----------------------------------------------------------------------------------------------------------


def test_only_servers_and_containers_that_call_the_internet_have_a_route_out() -> None:
    routed = {name for name, network in MAIN["networks"].items() if not (network or {}).get("internal")}
    assert routed == {"edge", "internet"}
    assert on("internet") == {name for name in CATALOG.containers if row(name).internet} | {"operator"}
    assert on("edge") == {name for name in CATALOG.containers if row(name).kind == "server"} | PAGES_OF_TOOLS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_containers_share_a_network_with_what_they_reach(name: str) -> None:
    for target in REACHES[name]:
        assert set(container(name)["networks"]) & set(container(target)["networks"]) - {"edge"}, target


@pytest.mark.parametrize("store", STORES)
def test_stores_are_reachable_only_by_the_containers_of_the_catalog(store: str) -> None:
    networks = [network for network in container(store)["networks"] if network.startswith("data-")]
    beside = set().union(*(on(network) for network in networks)) - {store}
    assert beside == {name for name, reached in REACHES.items() if store in reached}


def test_services_share_a_network_only_when_one_reaches_the_other() -> None:
    services = {*OWN_IMAGES, "visitors"}
    asked = {(name, target) for name, found in CATALOG.containers.items() for target in found.reaches_internal}
    reached = {(name, target) for name, targets in REACHES.items() for target in targets if target in services} | asked
    assert on("app") == {name for pair in reached for name in pair}


@pytest.mark.parametrize("name", NAMES)
def test_containers_wait_for_what_they_reach(name: str) -> None:
    jobs = {job for job in CATALOG.containers if row(job).kind == "job"}
    for target, how in container(name).get("depends_on", {}).items():
        expected = "service_completed_successfully" if target in jobs else "service_healthy"
        assert how == {"condition": expected}
        # Nothing connects to the job `topics`. Containers that reach Kafka wait until it has ended.
        assert target in REACHES[name] or (target in jobs and set(row(target).reaches) <= set(REACHES[name]))


# Settings -----------------------------------------------------------------------------------------------------------


def settings_of(service: str) -> type[EnvSettings]:
    found: type[EnvSettings] = importlib.import_module(f"services.{service}.settings").Settings
    return found


@pytest.mark.parametrize("name", OWN_IMAGES)
def test_containers_get_exactly_the_settings_of_their_service(name: str) -> None:
    # Compose sets neither of these: it has one queue, and its broker is Apache Kafka.
    left_out = {"KAFKASTORE_REDIS_URLS", "KAFKA_IDEMPOTENCE"}
    same_service = (found for found in CATALOG.containers.values() if found.service == row(name).service)
    of_others = {secret for found in same_service for secret in found.secrets} - set(row(name).secrets)
    assert set(container(name)["environment"]) == set(settings_of(row(name).service).variables()) - left_out - of_others


@pytest.mark.parametrize("name", OWN_IMAGES)
def test_unset_variables_have_the_default_of_the_service(name: str) -> None:
    given = {variable: re.sub(r"\$\{\w+:-\}", "", str(value)) for variable, value in environment(name).items()}
    names = re.findall(r"^([A-Z0-9_]+)=<generate>$", TEMPLATE, re.MULTILINE)
    secrets = {name: generated_secret() for name in names}
    assert settings_of(row(name).service).from_env({**given, **secrets})


def environment(name: str) -> dict[str, Any]:
    found: dict[str, Any] = container(name)["environment"]
    return found


@pytest.mark.parametrize("name", OWN_IMAGES)
def test_addresses_match_the_catalog(name: str) -> None:
    text = " ".join(str(value) for value in environment(name).values())
    named = set(re.findall(r"([a-z][a-z-]+):(\d+)", text))
    asked = {(target, catalog.INTERNAL_PORT) for target in row(name).reaches_internal}
    # All containers of a service have the same variables. The networks decide what each of them reaches.
    same_service = (each for each in catalog.load().containers.values() if each.service == row(name).service)
    alike = [each for each in same_service if each.service]
    reached = {(target, row(target).port) for found in (*alike, row(name)) for target in found.reaches}
    assert {(target, int(port)) for target, port in named} <= reached | asked
    assert asked <= {(target, int(port)) for target, port in named}


# Stores -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in STORES if row(name).image == "valkey"])
def test_redis_persists_writes_and_evicts_nothing(name: str) -> None:
    command = container(name)["command"]
    for setting in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"):
        assert setting in command
    limit = re.search(r"--maxmemory (\d+)(mb|gb)", command)
    assert limit is not None
    assert 2 * int(limit[1]) * {"mb": 1, "gb": 1024}[limit[2]] <= megabytes(container(name)["mem_limit"])
    assert container(name)["volumes"] == [f"{name}:/data"]


def test_kafka_does_not_create_topics_and_its_heap_fits_into_its_memory() -> None:
    found = container("kafka")
    assert environment("kafka")["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment("kafka")["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
    heap = re.search(r"-Xmx(\d+)m", environment("kafka")["KAFKA_HEAP_OPTS"])
    assert heap is not None
    assert int(heap[1]) <= megabytes(found["mem_limit"]) / 2
    assert found["volumes"] == ["kafka:/var/lib/kafka/data"]
    assert found["stop_grace_period"] == "60s"


def test_mongodb_keeps_its_data_and_its_cache_fits_into_its_memory() -> None:
    found = container("mongo")
    words = [*found["entrypoint"], *found["command"].split()]
    assert words[0] == "mongod"
    assert words[words.index("--replSet") + 1] == REPLICA_SET
    cache_mb = 1024 * float(words[words.index("--wiredTigerCacheSizeGB") + 1])
    assert 2 * cache_mb <= megabytes(found["mem_limit"])
    assert "mongo:/data/db" in found["volumes"]
    # The image declares this volume, which would get a name of its own at each start.
    assert any(mount.startswith("/data/configdb:") for mount in found["tmpfs"])


def megabytes(limit: str) -> int:
    return int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]]
