from collections.abc import Iterable
from unittest.mock import AsyncMock, Mock

from services.storage.core.bulk_json import BulkItem
from services.storage.routes.bulk_writer import BulkWriter


async def slices_of(sizes: Iterable[int]) -> list[int]:
    """Return the number of elements of each write, for elements of these sizes."""
    written: list[int] = []

    async def change_many(_: str, changes: dict[str, object], **__: object) -> dict[str, str]:
        written.append(len(changes))
        return dict.fromkeys(changes, "unknown")

    context = Mock()
    context.settings.max_bulk_objects = 10_000
    context.stores.bulk.change_many = AsyncMock(side_effect=change_many)
    writer = BulkWriter(context)
    await writer.add(
        BulkItem("remove_offers", number, {"_id": f"{number:024x}"}, size) for number, size in enumerate(sizes)
    )
    await writer.finish()
    return written


async def test_slice_has_at_most_500_elements() -> None:
    assert await slices_of([100] * 1_001) == [500, 500, 1]


async def test_slice_has_at_most_4_million_characters_or_one_element() -> None:
    assert await slices_of([1_000_000] * 9) == [4, 4, 1]
    assert await slices_of([3_000_000, 16_000_000, 1, 1]) == [1, 1, 2]
