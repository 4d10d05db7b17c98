from services.offerserver.core.stale import stale_after_s
from tests.unit.offerserver.importing import source


def test_source_may_have_a_time_of_its_own() -> None:
    assert stale_after_s(source(), 7.0) == 604_800.0
    assert stale_after_s(source(stale_after_s=3_600), 7.0) == 3_600
