"""The query of a list: a filter as conditions of MongoDB. Each value of a client is a value here, never an operator."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from services.storage.core.filters import Circle, GeoBox, ListFilter
from services.storage.core.radii import QUERY_MARGIN_M
from services.storage.core.sphere import EARTH_RADIUS_M, GeoPoint

Query = dict[str, Any]
_LAST_CHARACTER: Final = "\U0010ffff"


def list_query(wanted: ListFilter, now_ms: int, *, sees_true: bool, substring: bool = False) -> Query:
    """Return the query of a list.

    `sees_true`: the region applies to the true locations. Otherwise it applies to the location that others see, because
    many regions would reveal a hidden location. `substring`: keywords are found anywhere in a key, not only at its
    beginning. No index serves that.
    """
    conditions: list[Query] = [{"deleted": {"$exists": False}}]
    equal = {
        "owner": wanted.owner,
        "_id": wanted.object_id,
        "isActive": wanted.is_active,
        "trusted": wanted.trusted,
        "isMobile": wanted.is_mobile,
    }
    conditions += [{name: {"$eq": value}} for name, value in equal.items() if value is not None]
    if wanted.not_owner is not None:
        conditions.append({"owner": {"$ne": wanted.not_owner}})
    if wanted.only_valid:
        # A missing field passes $not: without a border an object is always valid.
        conditions.append({"validfrom": {"$not": {"$gt": now_ms}}, "validuntil": {"$not": {"$lte": now_ms}}})
    if wanted.region is not None:
        conditions.append(_visible_within(wanted.region, sees_true=sees_true))
    if wanted.keys:
        keys = [{"keys": {"$regex": _literal(key)}} if substring else _prefix("keys", key) for key in wanted.keys]
        conditions.append({"$or": [*keys, *(_prefix("words", word) for word in wanted.words)]})
    return {"$and": conditions}


def has_index(wanted: ListFilter) -> bool:
    """Return whether an index serves the list. Another list is read in the order of ids.

    Without this distinction the server would scan the collection, or read the index of the owners for all but one.
    """
    if isinstance(wanted.region, GeoBox) and _disc_around("location", wanted.region):
        return True
    return bool(wanted.keys or wanted.owner or wanted.object_id or isinstance(wanted.region, Circle))


def ranked_stages(keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the stages that add the sort values of a list: `_rank` and `_joined`.

    `$literal`: a keyword such as `$owner` would be read as the name of a field.
    """
    is_asked = {"$in": ["$$this", {"$literal": list(keys)}]}
    joined = {"$concat": ["$$value", ",", "$$this"]}
    return [
        {
            "$addFields": {
                "_rank": {"$size": {"$filter": {"input": "$keys", "as": "this", "cond": is_asked}}},
                "_joined": {
                    # The first 256 characters are enough to sort by, and they bound the size of a cursor.
                    "$substrCP": [{"$reduce": {"input": "$keywords", "initialValue": "", "in": joined}}, 0, 256]
                },
            }
        }
    ]


def _prefix(field: str, text: str) -> Query:
    # A range instead of an anchored expression: an expression cannot contain NUL.
    return {field: {"$elemMatch": {"$gte": text, "$lt": text + _LAST_CHARACTER}}}


def _literal(text: str) -> str:
    return re.sub(r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _visible_within(region: Circle | GeoBox, *, sees_true: bool) -> Query:
    if sees_true:
        return _within("location", region)
    shown, hidden = _within("location", region), _within("public_location", region)
    return {"$or": [{"showLocation": True, **shown}, {"showLocation": False, **hidden}]}


def _within(field: str, region: Circle | GeoBox) -> Query:
    if isinstance(region, Circle):
        return _disc(field, region.centre, region.radius_m)
    # A GeoJSON polygon has great circles as edges, and `$box` does not use the index. So: a disc, and ranges in it.
    west, east = region.south_west.lng, region.north_east.lng
    south, north = region.south_west.lat, region.north_east.lat
    query: Query = {f"{field}.coordinates.1": {"$gte": south, "$lte": north}}
    if west <= east:
        query[f"{field}.coordinates.0"] = {"$gte": west, "$lte": east}
    else:
        query["$or"] = [{f"{field}.coordinates.0": {"$gte": west}}, {f"{field}.coordinates.0": {"$lte": east}}]
    return query | _disc_around(field, region)


def _disc_around(field: str, box: GeoBox) -> Query:
    """Return a disc that contains the box; nothing if that would be half of the earth or more.

    From the centre, each point of the box is reached along the meridian and then along its parallel, which is longest
    at the latitude nearest to the equator.
    """
    south, north = box.south_west.lat, box.north_east.lat
    width = (box.north_east.lng - box.south_west.lng) % 360.0
    if box.south_west.lng <= box.north_east.lng:
        width = box.north_east.lng - box.south_west.lng
    nearest = 0.0 if south <= 0.0 <= north else min(abs(south), abs(north))
    angle = math.radians(north - south) / 2.0 + math.radians(width) / 2.0 * math.cos(math.radians(nearest))
    if angle >= math.pi / 2.0:
        return {}
    lng = (box.south_west.lng + width / 2.0 + 540.0) % 360.0 - 180.0
    return _disc(field, GeoPoint(lng, (south + north) / 2.0), angle * EARTH_RADIUS_M)


def _disc(field: str, centre: GeoPoint, radius_m: float) -> Query:
    # The margin is for rounding errors of the server at the edge.
    angle = min(math.pi, (radius_m + QUERY_MARGIN_M) / EARTH_RADIUS_M)
    return {field: {"$geoWithin": {"$centerSphere": [[centre.lng, centre.lat], angle]}}}
