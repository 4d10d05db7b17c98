"""What can go wrong with Kafka, told in our words instead of the client's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from aiokafka.errors import KafkaError

RESPONSE_LIMIT_S = 5.0  # for questions that a cluster answers from memory, and commits


class KafkaUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault of ours
    """Kafka did not confirm what was asked, in time or at all. Nothing may be assumed of it; trying again is safe."""


class OffsetGone(Exception):  # noqa: N818 - a state of the topic
    """Positions that the topic no longer holds (retention passed them), or not yet (it was made anew)."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        super().__init__(f"positions outside the topic: {dict(positions)}")
        self.positions = positions


def unavailable(error: Exception) -> KafkaUnavailable:
    """Tell an error of the client, or of the network, as KafkaUnavailable."""
    # The client's errors begin with their name when they are text; others do not.
    return KafkaUnavailable(str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def within_time_limit() -> AsyncIterator[None]:
    """Turn what the client raises, and an answer that does not come, into KafkaUnavailable."""
    try:
        async with asyncio.timeout(RESPONSE_LIMIT_S):
            yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"no answer within {RESPONSE_LIMIT_S} s") from error
    except (KafkaError, OSError) as error:
        raise unavailable(error) from error
