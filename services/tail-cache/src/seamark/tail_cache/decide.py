"""What a table's state asks of the tail: which partitions to begin, which to close. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.streams import Stream, open_streams
from seamark.stream.log import TopicPartition
from seamark.tail_cache.partition import Stop, View

Mine = Callable[[str, int], bool]
"""Whether this replica holds a partition of a topic."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about the partitions of one table."""

    begin: Mapping[StreamPartition, TopicPartition]
    """To be held from H on, in place of what is held of them."""
    close: tuple[StreamPartition, ...]
    """Held, of streams that take no more records."""


def decide(
    streams: Mapping[int, Stream],
    checkpoints: Mapping[StreamPartition, Checkpoint],
    held: Mapping[StreamPartition, View],
    mine: Mine,
    cluster_id: str,
) -> Decision:
    """What the registry and the checkpoints of a table ask of what is held."""
    followed = {
        id_: stream for id_, stream in open_streams(streams).items() if stream.cluster_id == cluster_id
    }
    begin = {}
    for stream in followed.values():
        for partition in range(stream.partitions):
            where = StreamPartition(stream.stream_id, partition)
            if mine(stream.topic, partition) and _begins(held.get(where), checkpoints.get(where)):
                begin[where] = TopicPartition(stream.topic, partition)
    close = tuple(
        where
        for where, view in held.items()
        if where.stream_id not in followed and view.stopped is not Stop.CLOSED
    )
    return Decision(begin, close)


def _begins(view: View | None, point: Checkpoint | None) -> bool:
    if view is None or point is None:
        return True  # without a checkpoint it is refused, and the reason is said
    if view.stopped is Stop.UNREADABLE:
        return point.next > view.hi
    # H moves back when a rolled-back table is adopted: what was let go of is wanted again.
    return view.stopped is not None or point.next < min(view.lo, view.committed.next)
