"""The periodic jobs, with their settings, on a real Redis and a real storage."""

import pytest

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.clients import ServiceUnavailable, StorageClient
from services.offerserver.core.changes import KnownOffer
from services.offerserver.handlers import stale
from services.offerserver.handlers.jobs import REMOVE_STALE, run_importer, run_stale, scheduled_jobs
from services.offerserver.handlers.known_offers import known_offers
from services.offerserver.handlers.stale import StaleOffersRemain
from services.offerserver.importers.catalog import NAMED, all_importers, plan_of
from services.offerserver.importers.configured import read_source
from services.offerserver.settings import Settings
from services.offerserver.store.runs import RunOrder
from tests.contract.offerserver.bench import OWNER, ImportBench, source_at, things
from tests.contract.storage.api.serving import SERVICE, SharedStorage

DAY_MS = 86_400_000


@pytest.fixture
def settings(clean_redis: LocalRedis, shared_storage: SharedStorage) -> Settings:
    return Settings.from_env(
        {
            "OFFERS_REDIS_URL": clean_redis.url,
            "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
            "STORAGE_PASSWORD": SERVICE[1],
            "OFFERS_CONTACT": "https://push.example/",
            "OFFERS_HOST_DELAY_S": "0.01",
            "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
    )


async def test_job_imports_and_reports_what_it_did(bench: ImportBench, settings: Settings) -> None:
    bench.serve(things(range(3)))
    assert await run_importer(settings, bench.importer) == "run: trusted: 3 new"
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]
    assert bench.server.requests[0].headers["user-agent"] == "push-offers (+https://push.example/)"
    bench.serve("{}")
    assert await run_importer(settings, bench.importer) == "run: partial (it has no items): nothing to write"


DRY_RUN = RunOrder("dry run", "operator").encode()


async def test_job_does_what_an_operator_ordered(bench: ImportBench, settings: Settings) -> None:
    bench.serve(things(range(3)))
    job = scheduled_jobs(settings, {"things": bench.importer}, {"things": plan_of(bench.importer.source)})["things"]
    assert job.follow is not None
    assert await job.follow(DRY_RUN) == "dry run: trusted: 3 new"
    assert await bench.ids() == []
    accept = RunOrder("accept", "operator", "a digest").encode()
    assert (
        await job.follow(accept)
        == "not run: another run has ended since, or the content is not kept any more: run the importer again"
    )
    assert await job.run() == "run: trusted: 3 new"


async def test_order_does_not_become_one_of_the_next_planned_run(bench: ImportBench, settings: Settings) -> None:
    bench.serve(things(range(3)))
    busy = "not run: another run of this importer has not ended"
    async with bench.leases.hold("things"):
        assert await run_importer(settings, bench.importer, DRY_RUN) == busy
    assert await run_importer(settings, bench.importer) == "run: trusted: 3 new"


async def test_job_names_storage_when_it_does_not_respond(bench: ImportBench, settings: Settings) -> None:
    away = settings.model_copy(update={"storage_url": "http://127.0.0.1:9"})
    with pytest.raises(ServiceUnavailable, match=r"^storage \(http://127\.0\.0\.1:9\): "):
        await run_importer(away, bench.importer)


async def test_job_without_a_contact_sends_no_request(bench: ImportBench, settings: Settings) -> None:
    without = settings.model_copy(update={"contact": ""})
    assert await run_importer(without, bench.importer) == "not run: OFFERS_CONTACT is not set"
    assert bench.server.requests == []


async def test_offers_without_a_trusted_run_for_too_long_are_removed(bench: ImportBench, settings: Settings) -> None:
    importers = {"things": bench.importer}
    assert await run_stale(settings, importers) == "removed 0 stale offers"
    await bench.run(things(range(3)))  # at a time long ago
    bench.now_ms += 100 * DAY_MS
    await bench.run("{}")
    assert await run_stale(settings, importers) == "removed 3 stale offers"
    assert await bench.ids() == []
    bench.serve(things(range(3)))
    assert await run_importer(settings, bench.importer) == "run: trusted: 3 new"
    assert await run_stale(settings, importers) == "removed 0 stale offers"
    assert len(await bench.ids()) == 3


async def test_stale_offers_of_others_are_removed_if_those_of_one_cannot_be(
    bench: ImportBench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = read_source(
        source_at(bench.server.url()).replace("name: things", "name: another").replace(OWNER, "Another")
    )
    for importer in (bench.importer, other):
        bench.serve(things(range(3)))
        await bench.runner.run(importer)

    async def known_or_refused(storage: StorageClient, owner: str) -> list[KnownOffer]:
        if owner == "Another":
            raise ServiceUnavailable("no response")
        return await known_offers(storage, owner)

    monkeypatch.setattr(stale, "known_offers", known_or_refused)
    with pytest.raises(StaleOffersRemain, match=r"^another: no response \(removed 3 of others\)$"):
        await run_stale(settings, {"another": other, "things": bench.importer})
    assert await bench.ids() == []
    assert len(await bench.offers("Another")) == 3


async def test_offers_are_not_stale_while_a_run_lasts(bench: ImportBench, settings: Settings) -> None:
    await bench.run(things(range(3)))
    async with bench.leases.hold("things"):
        assert await run_stale(settings, {"things": bench.importer}) == "removed 0 stale offers"
    assert len(await bench.ids()) == 3


def test_each_importer_has_a_job(settings: Settings) -> None:
    importers = all_importers({})
    plans = {name: plan_of(importer.source) for name, importer in importers.items()}
    assert set(scheduled_jobs(settings, importers, plans)) == {
        *(importer.source.name for importer in NAMED),
        REMOVE_STALE.name,
    }
