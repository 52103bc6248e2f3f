"""Framed Avro records, byte by byte: the corpus shares no code with any reader or writer.

A record is a mapping of field name to the bytes that stand for the field, in the order of
the schema, so that a case can put there what no encoder would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What a reader of the log must make of a record."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNRESOLVED = "unresolved"
    """The schema id is not known: the reader stops in front of the record."""


@dataclass(frozen=True, slots=True)
class Case:
    """A value of a Kafka record and what must become of it."""

    name: str
    value: bytes | None
    verdict: Verdict
    reason: str = ""
    """What the reason of a reject must say."""


def accept(name: str, value: bytes) -> Case:
    return Case(name, value, Verdict.ACCEPT)


def reject(name: str, value: bytes | None, reason: str) -> Case:
    return Case(name, value, Verdict.REJECT, reason)


def frame(schema_id: int, record: Mapping[str, bytes]) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + b"".join(record.values())


def long(number: int) -> bytes:
    """Zigzag varint, of ints, longs, lengths, counts, enum and union indexes."""
    zigzag = number * 2 if number >= 0 else -number * 2 - 1
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def padded(number: bytes, size_bytes: int) -> bytes:
    """A number in more bytes than it needs, which Avro allows: up to ten."""
    return bytes([*(byte | 0x80 for byte in number), *[0x80] * (size_bytes - len(number) - 1), 0])


def blob(data: bytes) -> bytes:
    return long(len(data)) + data


def text(value: str) -> bytes:
    return blob(value.encode())


def decimal(unscaled: int, size_bytes: int | None = None) -> bytes:
    """Two's complement in as few bytes as hold it, or in `size_bytes`."""
    size = size_bytes or (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return blob(unscaled.to_bytes(size, "big", signed=True))


NULL = long(0)


def some(value: bytes) -> bytes:
    """A value of a nullable field."""
    return long(1) + value


def array(*items: bytes) -> bytes:
    return (long(len(items)) + b"".join(items) if items else b"") + long(0)


LATEST_US = 7_258_118_399_999_999  # the last microsecond of 2199
