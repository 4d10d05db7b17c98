"""What the tests of the imageserver share: a process of it, and pictures."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageFilter

from deploy.develop.localstack.ports import free_port

ROOT = Path(__file__).parents[3]
SERVICE = ("images", "a secret of the test")
PHONE = ("app", "a secret of all phones")
PATIENT = {
    "IMAGESERVER_QUEUE_TIMEOUT_S": "60",
    "IMAGESERVER_WORK_TIMEOUT_S": "60",
    "IMAGESERVER_VOLUME_TIMEOUT_S": "60",
}
"""Settings for a test that is not about time limits, and that a busy machine must not fail."""


class ImageServer:
    """A process of the imageserver on a volume. `end` stops it."""

    def __init__(
        self,
        mongo_url: str,
        database: str,
        volume: Path,
        scratch: Path,
        *,
        command: Sequence[str] = ("services.imageserver",),
        **changed: str,
    ) -> None:
        self.volume = volume
        self.scratch = scratch
        self.log = scratch.with_suffix(".log")
        scratch.mkdir(parents=True, exist_ok=True)
        self.environ = {
            "IMAGESERVER_MONGO_URL": mongo_url,
            "IMAGESERVER_DATABASE": database,
            "IMAGESERVER_PORT": str(free_port()),
            "INTERNAL_PORT": str(free_port()),
            "IMAGESERVER_PASSWORD": SERVICE[1],
            "IMAGESERVER_APP_PASSWORD": PHONE[1],
            "IMAGESERVER_VOLUME": str(volume),
            "IMAGESERVER_SCRATCH": str(scratch),
            "LOG_FORMAT": "json",
            **changed,
        }
        self.url = f"http://127.0.0.1:{self.environ['IMAGESERVER_PORT']}"
        self.internal_url = f"http://127.0.0.1:{self.environ['INTERNAL_PORT']}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **self.environ}, stderr=log
            )
        self.client = httpx.Client(base_url=self.url, auth=SERVICE, timeout=90.0)
        self.reader = httpx.Client(base_url=self.url, timeout=30.0)

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                return httpx.get(f"{self.internal_url}/readyz").is_success
            except httpx.HTTPError:
                return False

        wait_until(is_ready, timeout_s=110)

    def upload(self, content: bytes, key: str | None = None) -> httpx.Response:
        path = "/assets/upload" if key is None else f"/assets/upload_with_sha/{key}"
        return self.client.post(path, content=content)

    def path_of(self, content: bytes) -> str:
        """Upload a picture, and return its path."""
        response = self.upload(content)
        assert response.status_code == 200, response.text
        return response.text

    def picture(self, path: str, accept: str = "*/*") -> Image.Image:
        response = self.reader.get(path, headers={"Accept": accept})
        assert response.status_code == 200, response.text
        opened = Image.open(io.BytesIO(response.content))
        opened.load()
        return opened

    def files(self) -> list[Path]:
        return sorted(path for path in self.volume.rglob("*.*") if path.is_file())

    def metric(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{label}="{value}"' for label, value in labels.items())
        sample = f"{name}{{{wanted}}}" if labels else name
        lines = httpx.get(f"{self.internal_url}/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{sample} ")))

    def kill(self) -> None:
        self.client.close()
        self.reader.close()
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Stop the process, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def photo(seed: int, width: int = 320, height: int = 240, mode: str = "RGB") -> Image.Image:
    """Return a picture that looks like no other, without small details."""
    draw = random.Random(seed)
    coarse = Image.frombytes("RGB", (8, 6), draw.randbytes(144)).resize((width, height), Image.Resampling.BICUBIC)
    return coarse.filter(ImageFilter.GaussianBlur(1)).convert(mode)


def encoded(image: Image.Image, encoder: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, encoder, **options)
    return file.getvalue()


def jpeg(seed: int, width: int = 320, height: int = 240) -> bytes:
    return encoded(photo(seed, width, height), quality=90)


def fingerprint(image: Image.Image) -> list[int]:
    """Return the mean brightness of each of 8 x 8 cells, of which a perceptual hash is made."""
    return list(image.convert("RGB").convert("L").resize((8, 8), Image.Resampling.BOX).tobytes())


def difference(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of two fingerprints, 0 to 255."""
    return max(abs(a - b) for a, b in zip(fingerprint(one), fingerprint(other), strict=True))
