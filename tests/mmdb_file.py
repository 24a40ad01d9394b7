"""Writes small files in MaxMind's DB format, for tests: https://maxmind.github.io/MaxMind-DB/ (IPv4, 24-bit)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

_STRING, _DOUBLE, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 3, 5, 6, 7, 9, 11


def write(path: Path, networks: Mapping[str, Mapping[str, Any]], *, kind: str = "GeoLite2-City") -> None:
    """Write networks ("198.51.100.0/24") with what is told of each."""
    nodes: list[list[Any]] = [[None, None]]
    data, places = b"", {}
    for text, told in networks.items():
        if str(told) not in places:
            places[str(told)] = len(data)
            data += _encode(told)
        net = ip_network(text)
        at = 0
        for depth in range(net.prefixlen):
            bit = int(net.network_address) >> (31 - depth) & 1
            if depth == net.prefixlen - 1:
                nodes[at][bit] = ("data", places[str(told)])
            else:
                if nodes[at][bit] is None:
                    nodes.append([None, None])
                    nodes[at][bit] = len(nodes) - 1
                at = nodes[at][bit]
    tree = b"".join(_record(one, len(nodes)) for node in nodes for one in node)
    metadata = {
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, 1_790_000_000),
        "database_type": kind,
        "description": {"en": "made up"},
        "ip_version": (_UINT16, 4),
        "languages": ["en"],
        "node_count": (_UINT32, len(nodes)),
        "record_size": (_UINT16, 24),
    }
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encode(metadata))


def _record(one: Any, nodes: int) -> bytes:
    number = nodes if one is None else one if isinstance(one, int) else nodes + 16 + one[1]
    return int(number).to_bytes(3, "big")


def _encode(value: Any) -> bytes:
    match value:
        case str():
            raw = value.encode()
            return _head(_STRING, len(raw)) + raw
        case float():
            return _head(_DOUBLE, 8) + struct.pack(">d", value)
        case (kind, int(number)):
            raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
            return _head(kind, len(raw)) + raw
        case list():
            return _head(_ARRAY, len(value)) + b"".join(map(_encode, value))
        case _:
            pairs = b"".join(_encode(key) + _encode(one) for key, one in value.items())
            return _head(_MAP, len(value)) + pairs


def _head(kind: int, size: int) -> bytes:
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([small, kind - 7]) + more if kind > 7 else bytes([kind << 5 | small]) + more
