"""The hash of Kafka's default partitioner, 32-bit MurmurHash2 with its seed.

Written out because the published Python packages carry MurmurHash3, which is another
function, and librdkafka keeps its own to itself.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash of `data` as an unsigned 32-bit number (Kafka's is the same bits, signed)."""
    length = len(data)
    value = _SEED ^ length
    aligned = length & ~3
    for start in range(0, aligned, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        word ^= word >> 24
        value = (value * _MULTIPLIER & _MASK) ^ (word * _MULTIPLIER & _MASK)
    if rest := data[aligned:]:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    value ^= value >> 13
    value = value * _MULTIPLIER & _MASK
    return value ^ value >> 15


def partition_for(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
