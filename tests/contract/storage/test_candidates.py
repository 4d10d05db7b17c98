"""The candidates: complete in both directions, few for each match, and by the index."""

import contextlib
import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from deploy.bench.scenes import SCENES, Scene
from deploy.develop.localstack.mongo import MongoKind
from services.storage.core.documents import to_document, to_side
from services.storage.core.matching import Match, MatchSide, SubjectKind, decide
from services.storage.core.radii import discs
from services.storage.core.sphere import GeoPoint, destination, distance_m
from services.storage.store import CandidateFinder, Database
from tests.contract.storage.storing import new_object

NOW = 1_700_000_000_000
PLACES = [
    GeoPoint(13.4, 52.5),
    GeoPoint(180.0, 10.0),
    GeoPoint(-179.9999, -10.0),
    GeoPoint(0.0, 90.0),
    GeoPoint(77.0, -89.999),
    GeoPoint(0.0, 0.0),
]
BORDERS = [0.0, *(radius for n in range(7, 17) for radius in (2.0**n, math.nextafter(2.0**n, 1e9))), 100_000.0]
INDEX_STAGES = {"IXSCAN", "EXPRESS_IXSCAN", "IDHACK", "GEO_NEAR_2DSPHERE"}


def plain_distance(first: list[float], second: list[float]) -> float:
    """The distance by the angle between two vectors."""
    (ax, ay, az), (bx, by, bz) = (
        (math.cos(la) * math.cos(lo), math.cos(la) * math.sin(lo), math.sin(la))
        for lo, la in ((math.radians(lng), math.radians(lat)) for lng, lat in (first, second))
    )
    cross = math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return 6_378_100.0 * math.atan2(cross, ax * bx + ay * by + az * bz)


def plainly(offer: dict[str, Any], search: dict[str, Any]) -> bool:
    """The rule of services.md on documents."""
    for each in (offer, search):
        if not each["isActive"] or each.get("validfrom", 0) > NOW or each.get("validuntil", NOW + 1) <= NOW:
            return False
    smaller = min(offer["radiusMeters"], search["radiusMeters"])
    away = plain_distance(offer["location"]["coordinates"], search["location"]["coordinates"])
    return offer["owner"] != search["owner"] and bool(set(offer["keys"]) & set(search["keys"])) and away <= smaller


def drawn(kind: SubjectKind, number: int, group: int, generator: random.Random) -> dict[str, Any]:
    radius = generator.choice([*BORDERS, 10 ** generator.uniform(1, 5)])
    location = destination(
        PLACES[group % len(PLACES)],
        bearing_rad=generator.uniform(0, 7),
        distance_m=generator.choice([0.0, 10 ** generator.uniform(0, 5)]),
    )
    return to_document(
        new_object(
            kind,
            f"{kind}{number}",
            now_ms=NOW,
            owner=f"owner{generator.randrange(12)}",
            location=location,
            radius_m=radius,
            keywords=(f"group{group}", f"other{kind}"),
            is_active=generator.random() < 0.9,
            valid_from_ms=generator.choice([None, None, NOW, NOW + 1]),
            valid_until_ms=generator.choice([None, None, NOW, NOW + 1]),
        )
    )


async def matches_of(finder: CandidateFinder, kind: SubjectKind, subject: MatchSide) -> tuple[set[str], int]:
    """Return the ids of the matches, and the number of candidates."""
    found: set[str] = set()
    number = 0
    async with contextlib.aclosing(finder.find(kind, subject, NOW)) as slices:
        async for each in slices:
            number += len(each.sides)
            for side in each.sides:
                offer, search = (subject, side) if kind == "offer" else (side, subject)
                if isinstance(decide(offer, search, NOW), Match):
                    found.add(side.id)
    return found, number


async def test_both_directions_find_what_a_plain_oracle_finds(database: Database) -> None:
    generator = random.Random(14)
    groups = [
        tuple(
            [drawn(kind, 10 * group + number, group, generator) for number in range(10)] for kind in ("offer", "search")
        )
        for group in range(50)
    ]
    await database["offers"].insert_many([each for offers, _ in groups for each in offers])
    await database["searches"].insert_many([each for _, searches in groups for each in searches])
    expected = {
        (offer["_id"], search["_id"])
        for offers, searches in groups
        for offer, search in itertools.product(offers, searches)
        if plainly(offer, search)
    }
    assert len(expected) > 150
    finder = CandidateFinder(database)
    by_offers: set[tuple[str, str]] = set()
    by_searches: set[tuple[str, str]] = set()
    for offers, searches in groups:
        for offer in offers:
            if offer["isActive"]:
                found, _ = await matches_of(finder, "offer", to_side(offer))
                by_offers |= {(offer["_id"], name) for name in found}
        for search in searches:
            if search["isActive"]:
                found, _ = await matches_of(finder, "search", to_side(search))
                by_searches |= {(name, search["_id"]) for name in found}
    assert by_offers == by_searches == expected


@pytest.mark.parametrize("place", PLACES)
async def test_exact_edge_is_found_in_both_directions(database: Database, place: GeoPoint) -> None:
    finder = CandidateFinder(database)
    for number, away in enumerate((0.0, 0.5, 128.0, 5_000.0, 99_000.0)):
        other = destination(place, bearing_rad=1.0, distance_m=away)
        edge = distance_m(place, other)
        offer = new_object("offer", f"o{number}", now_ms=NOW, location=place, radius_m=edge, keywords=(f"k{number}",))
        search = new_object("search", f"s{number}", now_ms=NOW, location=other, radius_m=edge, keywords=(f"k{number}",))
        await database["offers"].insert_one(to_document(offer))
        await database["searches"].insert_one(to_document(search))
        assert (await matches_of(finder, "offer", offer.side))[0] == {search.id}
        assert (await matches_of(finder, "search", search.side))[0] == {offer.id}


async def test_slices_have_at_most_500_and_repeat_no_candidate(database: Database) -> None:
    # Three keys in common: the index has three entries for each document.
    keys = ("a", "b", "c")
    await database["searches"].insert_many(
        [
            to_document(new_object("search", f"s{n}", now_ms=NOW, keywords=keys, radius_m=radius))
            for n, radius in enumerate([200.0, 700.0, 3000.0] * 400)
        ]
    )
    finder = CandidateFinder(database)
    subject = new_object("offer", "o", now_ms=NOW, keywords=keys, radius_m=2500.0).side
    async with contextlib.aclosing(finder.find("offer", subject, NOW)) as found:
        slices = [each async for each in found]
    ids = [side.id for each in slices for side in each.sides]
    assert [len(each.sides) for each in slices] == [500, 500, 200]
    assert len(set(ids)) == len(ids)
    for number, each in enumerate(slices):
        async with contextlib.aclosing(finder.find("offer", subject, NOW, first_disc=each.disc)) as found:
            resumed = {side.id for each in [each async for each in found] for side in each.sides}
        assert resumed >= {side.id for later in slices[number + 1 :] for side in later.sides}
    assert len(resumed) < len(ids), "the last disc alone"


def stages(plan: Any) -> Iterator[str]:
    """Yield the names of the stages of a plan, at any depth."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        for name, each in plan.items():
            if name != "rejectedPlans":
                yield from stages(each)
    elif isinstance(plan, list):
        for each in plan:
            yield from stages(each)


async def assert_plans(database: Database, finder: CandidateFinder, subject: MatchSide, candidates: int) -> int:
    """Check the plan of each find of a subject. Return the number of documents that MongoDB examined."""
    examined = 0
    for disc in discs(subject.radius_m):
        explained = await database.command(
            "explain",
            {"find": "searches", "filter": finder.query(subject, disc, NOW), "hint": "match"},
            verbosity="executionStats",
        )
        used = set(stages(explained["queryPlanner"]["winningPlan"]))
        assert used & INDEX_STAGES
        assert "COLLSCAN" not in used
        examined += explained["executionStats"]["totalDocsExamined"]
    assert examined <= 2 * candidates + 50
    return examined


async def fill(database: Database, scene: Scene, size: int) -> None:
    documents = scene.searches(size)
    while chunk := list(itertools.islice(documents, 5000)):
        await database["searches"].insert_many(chunk, ordered=False)


async def assert_few_candidates(database: Database, scene: Scene, subjects: int) -> None:
    finder = CandidateFinder(database)
    all_candidates = all_matches = planned = examined = 0
    for number, subject in enumerate(scene.offers(subjects)):
        found, candidates = await matches_of(finder, "offer", subject)
        assert candidates <= 5 * len(found) + 50, subject
        all_candidates += candidates
        all_matches += len(found)
        if number < 20:
            examined += await assert_plans(database, finder, subject, candidates)
            planned += candidates
    assert examined <= 2 * planned
    assert all_matches > subjects
    assert all_candidates <= 2.5 * all_matches


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_few_candidates_for_each_match(database: Database, scene: Scene, mongo_kind: MongoKind) -> None:
    if mongo_kind != "mongod":
        pytest.skip("SecantusDB counts the documents of a plan in another way")
    await fill(database, scene, 10_000)
    finder = CandidateFinder(database)
    for subject in scene.offers(10):
        found, candidates = await matches_of(finder, "offer", subject)
        assert candidates <= 5 * len(found) + 50
        await assert_plans(database, finder, subject, candidates)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_few_candidates_for_each_match_at_100_000(
    database: Database, scene: Scene, mongo_kind: MongoKind
) -> None:
    if mongo_kind != "mongod":
        pytest.skip("SecantusDB counts the documents of a plan in another way")
    await fill(database, scene, 100_000)
    await assert_few_candidates(database, scene, 100)


async def test_find_without_the_index_is_an_error(database: Database) -> None:
    await database["searches"].drop_index("match")
    await database["searches"].insert_one(to_document(new_object("search", "s", now_ms=NOW)))
    subject = new_object("offer", "o", now_ms=NOW).side
    with pytest.raises(OperationFailure):
        await matches_of(CandidateFinder(database), "offer", subject)
