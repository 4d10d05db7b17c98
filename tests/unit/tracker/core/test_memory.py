import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cluster import overlay
from services.tracker.core import memory_error, memory_parts
from services.tracker.settings import Settings

ROOT = Path(__file__).parents[4]
UNITS = {"m": 1_048_576, "Mi": 1_048_576, "g": 1_073_741_824, "Gi": 1_073_741_824}


def most_memory(settings: Settings) -> int:
    return sum(part.size for part in memory_parts(settings))


def in_bytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]+)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def in_compose() -> tuple[dict[str, str], int]:
    """Return the variables of the compose file and its memory limit."""
    tracker: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose/tracker.yml").read_text())["services"]["tracker"]
    environ = {name: value for name, value in tracker["environment"].items() if not value.startswith("${")}
    return environ, in_bytes(tracker["mem_limit"])


def in_kubernetes() -> tuple[dict[str, str], int]:
    """Return the variables of the built manifest and its memory limit."""
    manifests = overlay.build(ROOT / "kubernetes/base/tracker")
    [workload] = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    [tracker] = workload["spec"]["template"]["spec"]["containers"]
    environ = {row["name"]: row["value"] for row in tracker["env"] if "value" in row}
    return environ, in_bytes(tracker["resources"]["limits"]["memory"])


@pytest.mark.parametrize("container", [in_compose(), in_kubernetes()], ids=["compose", "kubernetes"])
def test_default_limits_fit_into_container_memory(container: tuple[dict[str, str], int]) -> None:
    environ, limit = container
    settings = Settings.from_env(environ)
    # The rest is for the allocator and for the kernel, which the sum leaves out.
    assert most_memory(settings) < 0.9 * limit
    assert memory_error(settings, limit_bytes=limit, source="a file") is None


def test_readme_states_the_sum_of_the_defaults() -> None:
    stated = f"{most_memory(Settings.from_env({})) / 1_048_576:.0f} MiB with the defaults"
    assert stated in (ROOT / "services/tracker/README.md").read_text()


@pytest.mark.parametrize(
    "bound",
    [
        "TRACKER_MAX_CONNECTIONS",
        "TRACKER_MAX_BUFFER_BYTES",
        "TRACKER_MAX_BODY_BYTES",
        "TRACKER_MAX_BATCH_BYTES",
        "TRACKER_MAX_BATCH_EVENTS",
        "TRACKER_MAX_PENDING_BYTES",
        "TRACKER_MAX_PENDING_EVENTS",
    ],
)
def test_memory_sum_grows_with_each_limit_and_error_contains_value(bound: str) -> None:
    default = Settings.from_env({})
    names = {field.alias: name for name, field in Settings.model_fields.items()}
    more = default.model_copy(update={names[bound]: 2 * getattr(default, names[bound])})
    assert most_memory(more) > most_memory(default)
    error = memory_error(more, limit_bytes=most_memory(more) - 1, source="/sys/fs/cgroup/memory.max")
    assert error is not None
    assert f"{bound}={2 * getattr(default, names[bound])}" in error
    assert "/sys/fs/cgroup/memory.max" in error
