from typing import Any

import pytest

from tests.unit.offerserver.importing import source


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Two words"}, "is no name of an importer"),
        ({"owner": " "}, "owner: is empty"),
        ({"licence": ""}, "licence: is empty"),
        ({"attribution": ""}, "attribution: is empty"),
        ({"keywords": ()}, "1 to 32 are required, not 0"),
    ],
)
def test_incomplete_source_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        source(**changes)
