import pytest

from services.imageserver.core.assets import Asset, etag_of, file_name, from_document, to_document

ASSET = Asset(
    id="a" * 64,
    name="0f" * 16,
    keys=("b" * 64,),
    files={"original": {"jpg": 900, "webp": 700}, "icon": {"jpg": 60, "webp": 40}},
    width=640,
    height=480,
    uploaded_format="PNG",
    uploaded_bytes=5_000,
    created_ms=1_795_655_443_425,
)


@pytest.mark.parametrize("keys", [(), ("b" * 64,), ("1", "2")])
def test_document_returns_the_asset(keys: tuple[str, ...]) -> None:
    asset = ASSET._replace(keys=keys)
    assert from_document(to_document(asset)) == asset


def test_asset_without_keys_has_no_such_field() -> None:
    assert "keys" not in to_document(ASSET._replace(keys=()))


def test_stored_bytes_are_those_of_all_files() -> None:
    assert ASSET.stored_bytes == to_document(ASSET)["stored"] == 1_700


def test_files_are_spread_by_the_first_digits() -> None:
    assert file_name(ASSET.name, "thumb", "webp") == f"0f/{ASSET.name}.thumb.webp"


def test_each_representation_has_an_entity_tag_of_its_own() -> None:
    tags = {etag_of(ASSET, "icon", "jpg"), etag_of(ASSET, "icon", "webp"), etag_of(ASSET, "original", "jpg")}
    assert len(tags) == 3
    assert etag_of(ASSET._replace(name="1f" * 16), "icon", "jpg") not in tags
