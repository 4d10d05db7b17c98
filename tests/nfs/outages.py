"""Scenes of a server that is killed or created anew."""

import errno
import os
import threading
import time
from collections.abc import Callable

from services.imageserver.store.volume import Volume
from tests.nfs.client import digest, mount, report, store


class Load:
    """Two threads that store pictures through one mount, and two that read published ones through the other."""

    def __init__(self) -> None:
        self.stores, self.serves = Volume(mount("stores")), Volume(mount("serves"))
        self.published: list[tuple[str, str, int]] = []
        self.errors: list[str] = []
        self.times: list[tuple[float, float]] = []
        """When each operation began, and its seconds."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in (self._write, self._read) * 2]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def lost(self) -> int:
        """Return how many published pictures either mount does not return as they were stored."""
        return sum(not self._is_whole(volume, each) for each in self.published for volume in (self.stores, self.serves))

    @staticmethod
    def _is_whole(volume: Volume, each: tuple[str, str, int]) -> bool:
        path, sent, size = each
        return digest(volume.read(path, 0, size, size=size)) == sent

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - each is a failure of the test
                self.errors.append(repr(error))
            self.times.append((began, time.monotonic() - began))
            time.sleep(0.01)

    def _write(self) -> None:
        data = os.urandom(40_000)
        self.published.append((*store(self.stores, data), len(data)))

    def _read(self) -> None:
        if self.published:
            each = self.published[int.from_bytes(os.urandom(4), "big") % len(self.published)]
            if not self._is_whole(self.serves, each):
                self.errors.append(f"{each[0]} has other bytes")


def killed_server() -> None:
    """Store and read while the server is killed and started again."""
    load = Load()
    load.start()
    time.sleep(3)
    report("under load", len(load.published))
    before = len(load.published)
    began = time.monotonic()
    time.sleep(40)
    load.stop()
    stored = len(load.published)
    longest = max(seconds for start, seconds in load.times if start > began - 5)
    report(
        "after",
        {"errors": load.errors[:5], "before": before, "stored": stored, "longest_s": longest, "lost": load.lost()},
    )


def recreated_server() -> None:
    """Keep a file and a directory open while the server is created anew; use them and new ones after that."""
    place = mount("first")
    data = os.urandom(100_000)
    path, sent = store(Volume(place), data)
    directory = os.open(place / path[:2], os.O_RDONLY | os.O_DIRECTORY)
    with (place / path).open("rb", buffering=0) as file:
        report("open", 1)
        time.sleep(15)
        errors = []
        for attempt in range(20):
            try:
                assert digest(file.read()) == sent
                file.seek(0)
                assert [entry.name for entry in os.scandir(directory)] == [path[3:]]
                assert digest((place / path).read_bytes()) == sent
                other, expected = store(Volume(place), data)
                assert digest((place / other).read_bytes()) == expected
                (place / other).unlink()
            except OSError as error:
                errors.append(f"{attempt}: {errno.errorcode[error.errno or 0]}")
    report("errors", errors)
