"""Checks of the readiness of a member of a consumer group."""

from collections.abc import Collection

from services.backbone.kafka import EventConsumer


async def check_member(kafka: EventConsumer | None) -> str:
    """Raise unless this process is a member of its group and the cluster responds."""
    if kafka is None:
        raise RuntimeError("not in the consumer group yet")
    await kafka.check()
    return ""


async def check_assignment(kafka: EventConsumer | None, held: Collection[int]) -> str:
    """Raise if this member has no partition, unless it is a spare. Return its partitions."""
    if kafka is None:
        raise RuntimeError("not in the consumer group yet")
    if held:
        return f"partitions {sorted(held)}"
    partitions, members = (await kafka.topic()).partitions, await kafka.group_size()
    if members <= partitions:
        raise RuntimeError(f"holds no partition, while {members} members share the topic's {partitions}")
    return f"spare: {members} members share the topic's {partitions} partitions"
