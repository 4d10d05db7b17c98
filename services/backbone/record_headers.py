"""Read the headers of Kafka records. Pure.

Any program may write to the topics, so a header may be repeated, and its value may be null or empty.
"""

from collections.abc import Iterable

RecordHeaders = Iterable[tuple[str, bytes | None]]
"""The headers of a record as the Kafka client returns them. None is a null value."""


def header_value(headers: RecordHeaders, name: str) -> bytes:
    """Return the first value of a header that is neither null nor empty, or b"" if there is none."""
    for found, value in headers:
        if found == name and value:
            return value
    return b""
