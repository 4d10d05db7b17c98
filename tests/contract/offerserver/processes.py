"""Settings and start of the three processes of the offerserver."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.services import ServiceProcess
from tests.contract.offerserver.bench import source_at
from tests.contract.storage.api.serving import SERVICE, SharedStorage


def environ_of(redis_url: str, shared: SharedStorage, feed_url: str, folder: Path) -> dict[str, str]:
    """Write the YAML file of the source. Return the settings: no logins, and the pages at OFFERS_PORT of loopback."""
    sources = folder / "sources"
    sources.mkdir()
    (sources / "things.yaml").write_text(source_at(feed_url))
    return {
        "OFFERS_REDIS_URL": redis_url,
        "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared.environ['STORAGE_PORT']}",
        "OFFERS_SOURCES": str(sources),
        "OFFERS_CONTACT": "https://push.example/",
        "OFFERS_PORT": str(free_port()),
        "STORAGE_PASSWORD": SERVICE[1],
        "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
        "SCHEDULE_CHECK_S": "0.2",
        "LOG_FORMAT": "json",
    }


@contextlib.contextmanager
def running_processes(environ: Mapping[str, str], logs: Path) -> Iterator[dict[str, ServiceProcess]]:
    """Start the pages, a worker and the beat. Yield them by name."""
    found = {
        kind: ServiceProcess("offerserver", kind, label=kind, logs=logs, env=dict(environ))
        for kind in ("admin", "worker", "beat")
    }
    try:
        for process in found.values():
            process.start()
        yield found
    finally:
        for process in found.values():
            process.stop()
