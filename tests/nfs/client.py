"""The common parts of the scenes of the machine with the NFS client: mounts, pictures, and results.

Two mounts with `nosharecache` share no cache, as if they were on two nodes. The files are those of imageserver: its
`Volume` writes and reads them.
"""

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from services.imageserver.store.volume import Volume, new_name
from tests.nfs.machine import GUEST_ADDRESS, MARK, OURS, SERVER_ADDRESS

SCRATCH = Path("/mnt/picture")


def report(name: str, value: Any) -> None:
    """Send a result to the test, through the console."""
    sys.stdout.write(MARK + json.dumps({"name": name, "value": value}) + "\n")
    sys.stdout.flush()


def mount(name: str, options: str = OURS) -> Path:
    place = Path("/mnt") / name
    place.mkdir(exist_ok=True)
    given = f"vers=4.2,addr={SERVER_ADDRESS},clientaddr={GUEST_ADDRESS},nosharecache,{options}"
    # -i: the kernel mounts. mount.nfs of the machine would look for rpc.statd.
    subprocess.run(["mount", "-i", "-t", "nfs4", "-o", given, f"{SERVER_ADDRESS}:/images", place], check=True)
    Volume(place).create()
    return place


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def store(volume: Volume, data: bytes) -> tuple[str, str]:
    """Store a picture; return its path and digest. They are what a document in MongoDB publishes."""
    name = new_name()
    source = SCRATCH.with_suffix(f".{threading.get_ident()}")
    source.write_bytes(data)
    volume.write(source, name, "thumb", "jpg")
    return f"{name[:2]}/{name}.thumb.jpg", digest(data)
