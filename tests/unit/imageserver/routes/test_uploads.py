"""The reason of a write that is not done in time."""

import pytest

from services.imageserver.core.refusals import RefusalReason
from services.imageserver.routes.uploads import late_write


@pytest.mark.parametrize(
    ("left_s", "reason"),
    [
        (4.4, RefusalReason.VOLUME_AWAY),
        (2.3, RefusalReason.VOLUME_AWAY),
        (2.2, RefusalReason.QUEUE_FULL),
        (-0.1, RefusalReason.QUEUE_FULL),
    ],
)
def test_busy_workers_are_not_blamed_on_the_volume(left_s: float, reason: RefusalReason) -> None:
    assert late_write(100.0, 100.0 + left_s, store_timeout_s=4.5) is reason
