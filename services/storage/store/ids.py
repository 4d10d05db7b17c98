"""Ids of new objects."""

from bson import ObjectId


def new_id() -> str:
    """Return an id of 24 hexadecimal digits. Ids begin with their time, so new objects are neighbours in an index."""
    return str(ObjectId())
