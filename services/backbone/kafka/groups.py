"""Consumer groups: their members and their committed offsets, read without joining them."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from services.backbone.kafka.errors import within_time_limit
from services.backbone.kafka.topics import open_admin

_COORDINATOR_S: Final = 0.2


class GroupState(NamedTuple):
    """A consumer group at the brokers. A group that never had a member has neither members nor offsets."""

    members: int
    committed: Mapping[int, int]
    """The next offset of each partition, as the group has committed it. Partitions without a commit are absent."""


async def group_size(bootstrap_servers: str, group: str) -> int:
    """Return the number of members of a consumer group. Raises KafkaUnavailable."""
    found = await read_groups(bootstrap_servers, [group])
    return found[group].members


async def read_groups(
    bootstrap_servers: str, groups: Collection[str], *, topic: str = "", partitions: Collection[int] = ()
) -> dict[str, GroupState]:
    """Return the state of each group, with its committed offsets of these partitions. Raises KafkaUnavailable."""
    wanted = [TopicPartition(topic, partition) for partition in partitions]
    async with within_time_limit(), open_admin(bootstrap_servers) as admin:
        return {group: await _read_group(admin, group, wanted) for group in groups}


async def _read_group(admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]) -> GroupState:
    while True:
        try:
            members = await _members(admin, group)
            break
        except KafkaError as error:
            # The first request for any group makes the brokers create their topic of offsets and load it.
            if not error.retriable:
                raise
            await asyncio.sleep(_COORDINATOR_S)
    # Without partitions, the client would ask for those of all topics.
    found = await admin.list_consumer_group_offsets(group, partitions=partitions) if partitions else {}
    return GroupState(members, {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0})


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    responses = await admin.describe_consumer_groups([group])
    [(error_code, *_, members)] = [found[:6] for response in responses for found in response.groups]
    if error_code:
        raise for_code(error_code)(f"group {group} could not be described")
    return len(members)
