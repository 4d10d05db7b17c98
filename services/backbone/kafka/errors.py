"""The errors of this package, and the conversion of the client's errors into them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from aiokafka.errors import KafkaError

RESPONSE_LIMIT_S = 5.0  # for requests that brokers serve from memory, and for commits


class KafkaUnavailable(Exception):
    """Kafka did not confirm an operation in time. The operation may have happened or not. A retry is safe."""


class UnreadableRecord(KafkaUnavailable):
    """The client can't decode a record, so the partition can't be read past it."""


class OffsetGone(Exception):
    """The topic does not contain these positions: retention deleted them, or the topic was created again."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        super().__init__(f"positions outside the topic: {dict(positions)}")
        self.positions = positions


def unavailable(error: Exception) -> KafkaUnavailable:
    """Convert an error of the client, or of the network, into KafkaUnavailable."""
    if isinstance(error, UnicodeDecodeError):
        return UnreadableRecord("the Kafka client can't decode a record: the name of one of its headers is not UTF-8")
    # The text of the client's errors begins with their name. Other errors have no name in their text.
    return KafkaUnavailable(str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def within_time_limit() -> AsyncIterator[None]:
    """Convert errors of the client, and a missing response, into KafkaUnavailable."""
    try:
        async with asyncio.timeout(RESPONSE_LIMIT_S):
            yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"no response within {RESPONSE_LIMIT_S} s") from error
    except (KafkaError, OSError) as error:
        raise unavailable(error) from error
