"""The contenders of bench.images: the imageserver, thumbor and nginx image_filter on one core, one busy at a time."""

import contextlib
import http.client
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from pymongo import MongoClient
from rich.console import Console

from deploy.bench import wrk
from deploy.bench.client import Client
from deploy.bench.machine import Usage, divide
from deploy.bench.pictures import UploadRequests, photo_jpeg
from deploy.bench.references.image_filter import PACKAGE, ImageFilterNginx, has_image_filter
from deploy.bench.references.thumbor import Thumbor, thumbor_python
from deploy.bench.results import Round, latency_round
from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.scratch import Scratch
from deploy.develop.localstack.services import ServiceProcess
from deploy.errors import OperatorError
from deploy.interrupts import exit_on_signals

SIDE: Final = 250
QUALITY: Final = 85
PICTURES: Final[Mapping[str, tuple[int, int]]] = {"2.7 MP": (1920, 1408), "12 MP": (4000, 3000)}
SMALL_PICTURES: Final = 64
SMALL: Final = (500, 375)
_SEED: Final = 17
_DATABASE: Final = "bench_images"
_CONNECTIONS: Final = 2
"""One picture is in work while the other is received, or waits for the disk."""
_MANY_CONNECTIONS: Final = 8
"""As many as the imageserver has places in its queue."""
_START_S: Final = 60.0


class HttpReply(NamedTuple):
    """A response 200."""

    body: bytes
    etag: str


class ImagesArena:
    """All servers. `stack` stops them."""

    def __init__(self, stack: contextlib.ExitStack, output: Console) -> None:
        """Start the servers. Without nginx' module `image_filter` is None. Raises OperatorError."""
        stack.enter_context(exit_on_signals())
        self._stack = stack
        self.thumbor_python = thumbor_python(output.print)
        self.cores = divide()
        self._scratch = Scratch(keep_data=False)
        stack.callback(self._scratch.close)
        data = self._scratch.data
        self._pictures = data / "pictures"
        self._pictures.mkdir()
        for name, (width, height) in PICTURES.items():
            self.picture(name).write_bytes(photo_jpeg(_SEED, width, height))
        self._mongo = MongoServer(
            "mongod", data=data / "mongo", log=self._scratch.logs / "mongod.log", say=output.print
        )
        stack.callback(self._mongo.process.stop)
        self._mongo.start()
        self._mongo.wait_ready()
        self._documents: MongoClient[dict[str, object]] = MongoClient(self._mongo.url)
        stack.callback(self._documents.close)
        self.imageserver = self._start_imageserver()
        self.thumbor = self._start_thumbor("thumbor", keeps_results=False)
        self.warm_thumbor = self._start_thumbor("warm-thumbor", keeps_results=True)
        self.image_filter: ImageServerUnderLoad | None = None
        if has_image_filter():
            nginx = ImageFilterNginx(
                data / "nginx", pictures=self._pictures, side=SIDE, quality=QUALITY, within=self.cores.within
            )
            self.image_filter = self._start(nginx, nginx.port)
        else:
            output.print(f"nginx image_filter is left out; on Debian and Ubuntu: apt-get install {PACKAGE}")

    def small_pictures(self) -> list[Path]:
        """Make pictures for reads: only their thumbs matter."""
        made = []
        for seed in range(SMALL_PICTURES):
            made.append(self._pictures / f"small-{seed}.jpg")
            made[-1].write_bytes(photo_jpeg(seed, *SMALL))
        return made

    def picture(self, name: str) -> Path:
        """Return the file of a picture."""
        return self._pictures / f"{name.replace(' ', '')}.jpg"

    def stored(self) -> int:
        """Return the number of published pictures."""
        return self._documents[_DATABASE]["assets"].count_documents({})

    def _start_imageserver(self) -> "ImageServerUnderLoad":
        port, data = free_port(), self._scratch.data
        service = ServiceProcess(
            "imageserver",
            label="imageserver",
            logs=self._scratch.logs,
            within=self.cores.within,
            env={
                "IMAGESERVER_MONGO_URL": self._mongo.url,
                "IMAGESERVER_DATABASE": _DATABASE,
                "IMAGESERVER_PORT": str(port),
                "IMAGESERVER_VOLUME": str(data / "volume"),
                "IMAGESERVER_SCRATCH": str(data / "scratch"),
                # One core. On a busy machine its share can be small, which must not refuse a picture.
                "IMAGESERVER_WORKERS": "1",
                "IMAGESERVER_WORK_TIMEOUT_S": "60",
                "IMAGESERVER_QUEUE_TIMEOUT_S": "60",
                "LOG_FORMAT": "json",
            },
        )
        self._stack.callback(service.stop)
        service.start()
        service.wait_until_ready()
        return ImageServerUnderLoad(service.process, port)

    def _start_thumbor(self, name: str, *, keeps_results: bool) -> "ImageServerUnderLoad":
        thumbor = Thumbor(
            self._scratch.data / name,
            python=self.thumbor_python,
            pictures=self._pictures,
            quality=QUALITY,
            keeps_results=keeps_results,
            within=self.cores.within,
        )
        return self._start(thumbor, thumbor.port)

    def _start(self, process: LocalProcess, port: int) -> "ImageServerUnderLoad":
        self._stack.callback(process.stop)
        process.start()
        process.wait_until(lambda: is_listening(port), timeout_s=_START_S)
        return ImageServerUnderLoad(process, port)


class ImageServerUnderLoad:
    """A server process under load, with its measurements."""

    def __init__(self, process: LocalProcess, port: int) -> None:
        self._process = process
        self._port = port

    def get(self, path: str) -> HttpReply:
        """Return the response to one request. Raises OperatorError for a status other than 200."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=_START_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise OperatorError(f"{self._process.name} responds {response.status} to {path}")
            return HttpReply(response.read(), response.getheader("ETag") or "")

    def upload_one(self, jpeg: bytes) -> str:
        """Upload a picture. Return its path."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=_START_S)
        with contextlib.closing(connection):
            connection.request("POST", "/assets/upload", jpeg, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != http.client.OK:
                raise OperatorError(f"the imageserver responds {response.status} to an upload: {text}")
            return text

    def make(self, path: str, seconds: float) -> Round:
        """Request a picture that is made for each request."""
        return self._send([f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()], seconds)

    def upload(self, requests: UploadRequests, arena: ImagesArena, seconds: float) -> Round:
        """Upload pictures. A response other than 200, and a response without a document, count as lost."""
        stored, sent = arena.stored(), requests.sent
        found = self._send(requests, seconds)
        acknowledged = requests.sent - sent - found.lost
        return replace(found, lost=found.lost + abs(acknowledged - (arena.stored() - stored)))

    def upload_number(self, requests: UploadRequests, number: int) -> float:
        """Upload this number of pictures. Return the memory of all processes in MB. Raises OperatorError."""
        with Client(self._port, connections=_MANY_CONNECTIONS) as client:
            # All are due at once. The rate is a power of two, so that the number stays exact.
            refused = client.at_fixed_rate(requests, rate=2.0**40, seconds=number / 2.0**40).refused
        if refused:
            raise OperatorError(f"{refused:,} of {number:,} uploads were refused")
        return Usage([self._process.pid]).rss_mb()

    def serve(self, requests: Sequence[wrk.WrkRequest], seconds: float) -> Round:
        """Request stored pictures as often as the server responds."""
        usage = Usage([self._process.pid])
        ran = wrk.run(f"http://{LOOPBACK}:{self._port}", seconds=seconds, requests=requests)
        cpu_us = 1e6 * usage.cpu_s() / ran.requests if ran.requests else None
        return Round(
            rate=ran.rate, p50_ms=ran.p50_ms, p99_ms=ran.p99_ms, cpu_us_per_event=cpu_us, rss_mb=usage.rss_mb()
        )

    def _send(self, requests: Sequence[bytes], seconds: float) -> Round:
        usage = Usage([self._process.pid])
        with Client(self._port, connections=_CONNECTIONS) as client:
            found = client.at_full_speed(requests, seconds=seconds)
        rate = found.acknowledged / found.seconds
        cpu_us = 1e6 * usage.cpu_s() / found.acknowledged if found.acknowledged else None
        measured = latency_round(found.latencies_s, rate=rate, lost=found.refused)
        return replace(measured, cpu_us_per_event=cpu_us, rss_mb=usage.rss_mb())
