"""Offset vectors and ranges as messages: H, E, lo, and what an answer lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seamark.lake.checkpoint import StreamPartition
from seamark.rpc.v1 import offsets_pb2


class VectorInvalid(ValueError):
    """Offsets that no log has."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets [first, next) of one partition; `next` None: the end is not known."""

    where: StreamPartition
    first: int
    next: int | None
    reason: str = ""
    """Why the range is named: LOST, SHED, NOT_REACHED ..."""


def to_proto(vector: Mapping[StreamPartition, int]) -> offsets_pb2.OffsetVector:
    """The vector as a message, in the order of its partitions: equal vectors, equal bytes."""
    return offsets_pb2.OffsetVector(
        offsets=[
            offsets_pb2.PartitionOffset(stream_id=where.stream_id, partition=where.partition, offset=offset)
            for where, offset in sorted(vector.items())
        ]
    )


def from_proto(message: offsets_pb2.OffsetVector) -> dict[StreamPartition, int]:
    """The vector of a message.

    Raises:
        VectorInvalid: a partition is named twice, or a number is negative.
    """
    vector: dict[StreamPartition, int] = {}
    for one in message.offsets:
        where = _partition(one.stream_id, one.partition)
        if where in vector:
            raise VectorInvalid(f"partition {where} was named twice, must be named once")
        if one.offset < 0:
            raise VectorInvalid(f"offset of partition {where} was {one.offset}, must be 0 or more")
        vector[where] = one.offset
    return vector


def range_to_proto(one: OffsetRange) -> offsets_pb2.OffsetRange:
    """The range as a message."""
    return offsets_pb2.OffsetRange(
        stream_id=one.where.stream_id,
        partition=one.where.partition,
        from_offset=one.first,
        to_offset=one.next or 0,
        reason=one.reason,
        end_unknown=one.next is None,
    )


def range_from_proto(message: offsets_pb2.OffsetRange) -> OffsetRange:
    """The range of a message.

    Raises:
        VectorInvalid: it ends before it begins, or a number is negative.
    """
    where = _partition(message.stream_id, message.partition)
    first, end = message.from_offset, None if message.end_unknown else message.to_offset
    if first < 0 or (end is not None and end < first):
        raise VectorInvalid(f"range of partition {where} was [{first}, {end}), must be 0 <= from <= to")
    return OffsetRange(where, first, end, message.reason)


def _partition(stream_id: int, partition: int) -> StreamPartition:
    if stream_id < 0 or partition < 0:
        raise VectorInvalid(f"partition was {stream_id}.{partition}, must be two numbers from 0")
    return StreamPartition(stream_id, partition)
