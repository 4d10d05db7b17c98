import msgspec

from services.offerserver.core.changes import ChangedItem, NewItem, OfferChanges, Removal
from services.offerserver.core.drafts import Draft
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.writing import WriteStep, offer_id, write_steps
from tests.unit.offerserver.importing import NOW_MS, draft, source

SOURCE = source()


def new(item: Draft) -> NewItem:
    return NewItem(item, fingerprint(item, SOURCE))


RUN = (NOW_MS, 7)


def changed(number: int) -> ChangedItem:
    item = draft(number)
    return ChangedItem(f"{number:024x}", item, fingerprint(item, SOURCE))


def steps(changes: OfferChanges, size: int = 2) -> list[WriteStep]:
    return list(write_steps(changes, SOURCE, run=RUN, size=size))


def test_offer_has_the_form_of_storage() -> None:
    item = draft(
        1,
        keywords=("#All", "#music"),
        radius_m=50,
        valid_until_ms=9,
        extdata={"link": "x"},
        place={"en": {"route": "A street"}},
    )
    (step,) = steps(OfferChanges(new=(new(item),)))
    mark = fingerprint(item, SOURCE)
    assert msgspec.to_builtins(step.new[0]) == {
        "_id": offer_id("Libraries", "id-1", RUN),
        "owner": "Libraries",
        "text": "Library 1",
        "keywords": ("#All", "#library", "#music"),
        "location": {"type": "Point", "coordinates": (13.4, 52.50001)},
        "radiusMeters": 50,
        "validfrom": None,
        "validuntil": 9,
        "place": {"en": {"route": "A street"}},
        "showLocation": True,
        "allowContacts": True,
        "trusted": True,
        "images": (),
        "extdata": {
            "link": "x",
            "id": "id-1",
            "match_hash": mark.match,
            "content_hash": mark.content,
            "licence": "CC0-1.0",
            "attribution": "A city",
        },
    }


def test_event_is_sent_by_the_last_request() -> None:
    found = steps(OfferChanges(new=tuple(new(draft(n)) for n in range(3)), matching=(changed(8), changed(9))))
    assert [(len(each.new), len(each.changed), each.event) for each in found] == [
        (2, 0, "later"),
        (1, 1, "later"),
        (0, 1, "now"),
    ]


def test_what_nobody_has_to_know_has_no_event() -> None:
    removals = tuple(Removal(f"{n:024x}", f"id-{n}", "absent") for n in range(3))
    found = steps(OfferChanges(content=(changed(1),), removals=removals))
    assert [(len(each.changed), len(each.removed), each.event) for each in found] == [
        (1, 0, "none"),
        (0, 2, "none"),
        (0, 1, "none"),
    ]
    assert steps(OfferChanges(unchanged=5)) == []


def test_changed_offer_keeps_its_id() -> None:
    (step,) = steps(OfferChanges(content=(changed(7),)))
    assert step.changed[0].id == f"{7:024x}"


def test_item_has_one_id_in_a_run() -> None:
    other = ((NOW_MS, 8), (NOW_MS + 1, 7))
    parts = (("a", "b", RUN), ("b", "a", RUN), ("a", "c", RUN), ("ab", "", RUN), *(("a", "b", run) for run in other))
    ids = [offer_id(*each) for each in parts]
    assert offer_id("a", "b", RUN) == ids[0]
    assert len(set(ids)) == 6
    assert {len(each) for each in ids} == {24}
    assert {each[:8] for each in ids} == {f"{NOW_MS // 1000:08x}"}
