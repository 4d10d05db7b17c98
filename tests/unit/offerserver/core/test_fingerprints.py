from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.offerserver.core.fingerprints import Fingerprint, fingerprint, id_of_parts, stored_fingerprint
from tests.unit.offerserver.importing import draft, source


def mark(**changes: Any) -> Fingerprint:
    values = {"extdata": {"a": "one", "b": 1.0}, "keywords": ("#x", "#y")} | changes
    return fingerprint(draft(1, **values), source())


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "another"},
        {"extdata": {"b": 1, "a": " one "}},
        {"text": "  Library\n1 "},
        {"keywords": ("#Y", "#x", "#all")},
        {"latitude": 52.50001 + 1e-9},
    ],
)
def test_order_case_and_whitespace_have_no_effect(changes: dict[str, Any]) -> None:
    assert mark(**changes) == mark()


@pytest.mark.parametrize(
    "changes",
    [
        {"latitude": 52.51},
        {"longitude": 13.41},
        {"keywords": ("#x",)},
        {"radius_m": 100},
        {"valid_from_ms": 1},
        {"valid_until_ms": 1},
    ],
)
def test_what_the_rule_of_matching_reads_changes_the_match_hash_alone(changes: dict[str, Any]) -> None:
    assert mark(**changes).match != mark().match
    assert mark(**changes).content == mark().content


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "Another"},
        {"extdata": {"a": "two", "b": 1.0}},
        {"place": {"en": {"route": "A street"}}},
        {"image_urls": ("https://example.org/a.jpg",)},
    ],
)
def test_the_rest_changes_the_content_hash_alone(changes: dict[str, Any]) -> None:
    assert mark(**changes).content != mark().content
    assert mark(**changes).match == mark().match


def test_what_the_source_adds_is_covered() -> None:
    one = fingerprint(draft(1), source())
    assert fingerprint(draft(1), source(keywords=("#all",))).match != one.match
    assert fingerprint(draft(1), source(radius_m=500)).match != one.match
    assert fingerprint(draft(1), source(licence="ODbL-1.0")).content != one.content
    assert fingerprint(draft(1, radius_m=225), source()) == one


def test_appearance_is_title_and_place() -> None:
    assert mark(keywords=(), extdata={}, valid_until_ms=5).appearance == mark().appearance
    assert mark(text="Another").appearance != mark().appearance
    assert mark(latitude=52.6).appearance != mark().appearance


def test_hashes_are_read_from_extdata() -> None:
    found = mark()
    assert stored_fingerprint({"match_hash": found.match, "content_hash": found.content}) == found
    assert stored_fingerprint({"match_hash": 5}) == Fingerprint("", "")


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_id_of_parts_depends_on_each_part(parts: list[str]) -> None:
    assert id_of_parts(*parts) == id_of_parts(*parts)
    assert id_of_parts(*parts) != id_of_parts(*parts, "")
    assert len(id_of_parts(*parts)) == 24
