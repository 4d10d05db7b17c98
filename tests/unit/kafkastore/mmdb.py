"""Writes small databases in MaxMind's format (MaxMind DB File Format Specification 2.0), for tests."""

import struct
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

_SEPARATOR = bytes(16)
_MARKER = b"\xab\xcd\xefMaxMind.com"
_STRING, _DOUBLE, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 3, 5, 6, 7, 9, 11


def write_database(path: Path, records: Mapping[str, Any], *, kind: str = "Test-City", ip_version: int = 4) -> Path:
    """Write a database of network -> record to `path`."""
    nodes: list[list[int | None]] = [[None, None]]
    data = b""
    leaves: list[tuple[int, int, int]] = []
    for text, record in records.items():
        network = ip_network(text)
        at = 0
        bits = _bits(network)
        for bit in bits[:-1]:
            child = nodes[at][bit]
            if child is None:
                nodes.append([None, None])
                child = nodes[at][bit] = len(nodes) - 1
            at = child
        leaves.append((at, bits[-1], len(data)))
        data += _encode(record)
    for at, bit, offset in leaves:
        nodes[at][bit] = len(nodes) + len(_SEPARATOR) + offset
    tree = b"".join((len(nodes) if value is None else value).to_bytes(4, "big") for node in nodes for value in node)
    metadata = {
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, 1_764_000_000),
        "database_type": kind,
        "description": {"en": "for tests"},
        "ip_version": (_UINT16, ip_version),
        "languages": ["en"],
        "node_count": (_UINT32, len(nodes)),
        "record_size": (_UINT16, 32),
    }
    path.write_bytes(tree + _SEPARATOR + data + _MARKER + _encode(metadata))
    return path


def _bits(network: IPv4Network | IPv6Network) -> list[int]:
    number, length = int(network.network_address), network.max_prefixlen
    return [number >> (length - 1 - at) & 1 for at in range(network.prefixlen)]


def _control(kind: int, size: int) -> bytes:
    size_field, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind > 7:
        return bytes([size_field, kind - 7]) + more
    return bytes([kind << 5 | size_field]) + more


def _encode(value: Any) -> bytes:
    match value:
        case str():
            text = value.encode()
            return _control(_STRING, len(text)) + text
        case float():
            return _control(_DOUBLE, 8) + struct.pack(">d", value)
        case dict():
            return _control(_MAP, len(value)) + b"".join(_encode(key) + _encode(item) for key, item in value.items())
        case list():
            return _control(_ARRAY, len(value)) + b"".join(_encode(item) for item in value)
        case (int(kind), int(number)):
            raw = number.to_bytes(8, "big").lstrip(b"\0")
            return _control(kind, len(raw)) + raw
    raise TypeError(type(value))
