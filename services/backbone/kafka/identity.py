"""The identity of a topic: a topic that is deleted and created again has the same name and another id.

The Kafka client knows topics by name only (Metadata up to version 5). Without the id, a recreated topic that is longer
than an old position looks like the old topic. A consumer then skips the records before that position without an error.
So this module sends one additional request, Metadata version 10 (KIP-516), over the client's connections.
"""

from io import BytesIO
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from services.backbone.kafka.errors import KafkaUnavailable

METADATA_AGE_S: Final = 30.0
"""How often clients read the cluster's metadata: they notice a deleted, recreated or extended topic within this time.
The default of the Kafka client is five minutes, for which consumers would have no partitions."""

_NO_ID: Final = UUID(int=0)


class Topic(NamedTuple):
    """The current state of a topic at the brokers."""

    id: str | None
    """Changes when the topic is deleted and created again. None if the brokers have no topic ids (before Kafka 2.8)."""
    partitions: int


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]  # the client has no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_TAGS: Final = ("tags", TaggedFields)
_TEXT: Final = CompactString("utf-8")


class _MetadataResponse(Response):  # type: ignore[misc]  # as above
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]  # as above
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]  # as above
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})  # noqa: FBT003 - the wire's order


async def read_topic(client: AIOKafkaClient, name: str) -> Topic:
    """Return the topic as one broker knows it.

    Raises KafkaError. Raises KafkaUnavailable if the topic does not exist.
    """
    try:
        response: Any = await client.send(client.get_random_node(), _MetadataRequest(name))
    except NotImplementedError:  # the broker does not know this version of the request
        known = client.cluster.partitions_for_topic(name)
        if not known:
            raise KafkaUnavailable(f"there is no topic {name!r}") from None
        return Topic(None, len(known))
    [(error_code, _name, topic_id, _internal, partitions, *_)] = response.topics
    if error_code == UnknownTopicOrPartitionError.errno:
        raise KafkaUnavailable(f"there is no topic {name!r}")
    if error_code:
        raise for_code(error_code)(name)
    return Topic(None if topic_id == _NO_ID else str(topic_id), len(partitions))
