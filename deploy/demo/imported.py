"""The importers of the demo, which its workers run once: they fetch from `feed_server`."""

import asyncio
import contextlib
import time
from typing import Final, NamedTuple

from redis.exceptions import RedisError
from rich.text import Text

from deploy.demo.feed_server import SOURCES
from deploy.develop.localstack import LocalStack
from services.offerserver.importers.directory import importers_of
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers, schedule_of
from services.offerserver.store.runs import RunStore

_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.2
_BY: Final = "demo"


class ImportedOffers(NamedTuple):
    """What became of the first run of each importer."""

    offers: dict[str, int]
    """The new offers by the name of the importer."""
    errors: tuple[str, ...]
    """A sentence for each importer whose first run was not trusted, or has not ended."""

    @property
    def total(self) -> int:
        """The number of new offers."""
        return sum(self.offers.values())

    @property
    def sentence(self) -> str:
        """The numbers, for people."""
        return f"{self.total} imported offers: " + ", ".join(f"{name} {n}" for name, n in self.offers.items())


def pages_url(stack: LocalStack) -> str:
    """Return the address of the pages of the importers."""
    return f"http://127.0.0.1:{stack.service('offerserver.admin').env['OFFERS_PORT']}/offers"


class ImportLine:
    """The line of the live table about the importers."""

    def __init__(self) -> None:
        self._found: ImportedOffers | None = None

    async def run(self, stack: LocalStack) -> None:
        """Run the importers once, then wait without end."""
        self._found = await run_importers(stack)
        await asyncio.Event().wait()

    def render(self) -> Text:
        """Return the line; red if an importer failed."""
        if self._found is None:
            return Text("the importers run", style="dim")
        errors = "".join(f"\n{error}" for error in self._found.errors)
        return Text(f"{self._found.sentence}{errors}", style="bold red" if errors else "dim")


async def run_importers(stack: LocalStack) -> ImportedOffers:
    """Request a run of each importer, and wait for the ends. The workers must be started, and need not be ready."""
    settings = Settings.from_env({"OFFERS_REDIS_URL": stack.redis_url, "OFFERS_SOURCES": str(SOURCES)})
    names = list(importers_of(settings.sources))
    offers: dict[str, int] = {}
    errors: dict[str, str] = {name: f"the importer {name} has not run within {_LIMIT_S:.0f} s" for name in names}
    redis = connect_offers(settings)
    async with contextlib.aclosing(redis):
        store, schedule = RunStore(redis), schedule_of(redis, settings)
        for name in names:
            await schedule.request(name, by=_BY)
        until_s = time.monotonic() + _LIMIT_S
        while errors.keys() - offers.keys() and time.monotonic() < until_s:
            await asyncio.sleep(_POLL_S)
            for name in errors.keys() - offers.keys():
                with contextlib.suppress(RedisError):  # it is asked again
                    if reports := await store.history(name):
                        first = reports[-1]
                        offers[name] = first.counts.new
                        trusted = first.grade == "trusted"
                        errors[name] = "" if trusted else f"{name} is {first.grade}: {'; '.join(first.reasons)}"
    ordered = {name: offers[name] for name in names if name in offers}
    return ImportedOffers(ordered, tuple(filter(None, errors.values())))
