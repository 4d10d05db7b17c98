from prometheus_client import CollectorRegistry, generate_latest

from services.offerserver.metrics import ImporterMetric, OfferMetrics
from tests.unit.offerserver.importing import source


def test_totals_of_an_importer_are_exported() -> None:
    registry = CollectorRegistry()
    totals = {"grade:partial": 2, "items:new": 5, "pictures:uploaded": 4, "bytes": 70, "retries": 1, "lease_lost": 1}
    OfferMetrics(registry).set([ImporterMetric(source(), totals, 60.0, 2, 3600.0, 604_800.0)])
    lines = generate_latest(registry).decode().splitlines()
    for line in (
        'push_offers_runs_total{grade="partial",importer="libraries"} 2.0',
        'push_offers_runs_total{grade="trusted",importer="libraries"} 0.0',
        'push_offers_items_total{importer="libraries",result="new"} 5.0',
        'push_offers_pictures_total{importer="libraries",result="uploaded"} 4.0',
        'push_offers_pictures_total{importer="libraries",result="not_fetched"} 0.0',
        'push_offers_received_bytes_total{importer="libraries"} 70.0',
        'push_offers_retries_total{importer="libraries"} 1.0',
        'push_offers_leases_lost_total{importer="libraries"} 1.0',
        'push_offers_last_success_age_seconds{importer="libraries"} 60.0',
        'push_offers_partial_runs{importer="libraries"} 2.0',
        'push_offers_interval_seconds{importer="libraries"} 3600.0',
        'push_offers_stale_after_seconds{importer="libraries"} 604800.0',
    ):
        assert line in lines


def test_refused_requests_are_exported_before_the_first_one() -> None:
    registry = CollectorRegistry()
    OfferMetrics(registry)
    assert registry.get_sample_value("push_offers_page_requests_refused_total", {"reason": "password"}) == 0
