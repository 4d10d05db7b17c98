"""A small disk that can be filled: a tmpfs in the namespace of a keeper process."""

import os
import shutil
import subprocess
from pathlib import Path

from deploy.develop.localstack.processes import LocalProcess

_START_S = 10
_BLOCK = b"\0" * 65_536


def can_mount() -> bool:
    """Return whether this user may mount a file system in its own namespace."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "push", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=10).returncode == 0


class SmallDisk:
    """A tmpfs of `size` bytes at `mount_point`. The kernel removes it when its keeper ends."""

    def __init__(self, mount_point: Path, *, size: int, log: Path) -> None:
        mount_point.mkdir(parents=True, exist_ok=True)
        self._mount_point = mount_point
        script = 'mount -t tmpfs -o size="$1" push "$2" && touch "$2/mounted" && exec sleep infinity'
        command = ["unshare", "--mount", "sh", "-c", script, "disk", str(size), str(mount_point)]
        self.keeper = LocalProcess("disk", command, log=log, env=os.environ, cwd=mount_point)

    def start(self) -> None:
        """Mount the disk. Raises ProcessFailed when this user may not mount."""
        self.keeper.start()
        self.keeper.wait_until((self._seen / "mounted").exists, timeout_s=_START_S)

    def stop(self) -> None:
        """Unmount the disk and delete its data."""
        self.keeper.kill()

    @property
    def within(self) -> tuple[str, ...]:
        """The prefix of a command. The command then runs in the namespace of the disk."""
        return ("nsenter", "--mount", f"--target={self.keeper.pid}", f"--wd={Path.cwd()}")

    @property
    def _seen(self) -> Path:
        """The path of the disk as seen from this process."""
        return Path(f"/proc/{self.keeper.pid}/root") / self._mount_point.relative_to("/")

    def fill(self) -> None:
        """Allocate every free byte."""
        with (self._seen / "ballast").open("ab", buffering=0) as ballast:
            while True:
                try:
                    ballast.write(_BLOCK)
                except OSError:
                    return

    def free(self) -> None:
        """Free the bytes that `fill` allocated."""
        (self._seen / "ballast").unlink(missing_ok=True)
