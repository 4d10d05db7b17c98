import pytest

from services.kafidx.core.views import OpenViews, TooManyViews


def test_no_more_views_are_open_than_may_be() -> None:
    views = OpenViews(limit=2)
    views.enter()
    views.enter()
    with pytest.raises(TooManyViews):
        views.enter()
    views.leave()
    views.enter()
    assert views.count == 2
