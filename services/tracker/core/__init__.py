"""The tracker's rules without I/O: they turn the bytes of a request into events."""

from services.backbone.bodies import Malformed, Refused, Unsupported
from services.backbone.events import client_id
from services.tracker.core.address import Network, client_address, client_network, is_inside
from services.tracker.core.batch import ENCODED_PER_BATCH_BYTE, BatchLimits, Entry, is_plainly_batch, read_batch
from services.tracker.core.bodies import DECODED_BYTES_PER_BYTE, Body, TooLarge, params_of_body
from services.tracker.core.framing import HeadError, head_error, split_target
from services.tracker.core.memory import memory_error, memory_parts
from services.tracker.core.privacy import Budget
from services.tracker.core.request import (
    Request,
    Rules,
    Sender,
    event_of_batch_entry,
    event_of_request,
    header_fields,
    is_long,
    sender_of,
    wants_image,
)
from services.tracker.core.splitting import SPLIT_BYTES

__all__ = [
    "DECODED_BYTES_PER_BYTE",
    "ENCODED_PER_BATCH_BYTE",
    "SPLIT_BYTES",
    "BatchLimits",
    "Body",
    "Budget",
    "Entry",
    "HeadError",
    "Malformed",
    "Network",
    "Refused",
    "Request",
    "Rules",
    "Sender",
    "TooLarge",
    "Unsupported",
    "client_address",
    "client_id",
    "client_network",
    "event_of_batch_entry",
    "event_of_request",
    "head_error",
    "header_fields",
    "is_inside",
    "is_long",
    "is_plainly_batch",
    "memory_error",
    "memory_parts",
    "params_of_body",
    "read_batch",
    "sender_of",
    "split_target",
    "wants_image",
]
