"""Which offsets each stream answers for, and of which of them the log still has the records."""

from collections.abc import Mapping
from dataclasses import dataclass

from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import Log
from seamark_oracle.registry import Partition, Registry, Stream


@dataclass(frozen=True, slots=True)
class Gone:
    """Offsets below a checkpoint whose records cannot be had any more."""

    offsets: range
    reason: str


@dataclass(frozen=True, slots=True)
class Extent:
    """One partition of one stream. All offsets of [start, next) are in `proven` or in `unproven`."""

    stream_id: int
    partition: int
    start: int
    next: int
    """H, as the table claims it; `start` where it claims nothing."""
    proven: range
    """Offsets whose records the log must have."""
    unproven: tuple[Gone, ...]
    """Offsets whose rows can only be taken as they are."""
    reading: range
    """What is read of the log: `proven` and, while the stream is open, all above `next`."""

    @property
    def where(self) -> Partition:
        return self.stream_id, self.partition


@dataclass(frozen=True, slots=True)
class Survey:
    """All partitions of a table's streams, in the order of the registry."""

    extents: tuple[Extent, ...]
    left_out: tuple[tuple[Partition, range], ...]
    """Offsets that no stream decides on and no excluded range accounts for, with the stream they belong to."""


def survey(log: Log, registry: Registry) -> Survey:
    """Lays the claims of the registry beside the bounds of the log.

    Raises OracleError where the log cannot be asked, or is not that of an open stream: beside a
    wrong one everything would be unproven, and nothing off.
    """
    cluster_id = log.cluster_id()
    closed_by = {s.succeeds: s for s in registry.streams.values() if s.succeeds is not None}
    extents: list[Extent] = []
    left_out: list[tuple[Partition, range]] = []
    for stream in registry.streams.values():
        successor = closed_by.get(stream.stream_id)
        if successor is None and stream.cluster_id != cluster_id:
            raise OracleError(
                f"stream {stream.stream_id} is of cluster {stream.cluster_id}, the log given of {cluster_id}"
            )
        found = log.topic(stream.topic)
        same_log = found is not None and found.topic_id == stream.topic_id
        ranges = found.ranges if found is not None and same_log else {}
        missing = f"topic {stream.topic} is {'another one now' if found else 'not there'}"
        for partition, start in enumerate(stream.start):
            where = stream.stream_id, partition
            checkpoint = registry.checkpoints.get(where)
            next_offset = checkpoint.next if checkpoint else start
            bounds = ranges.get(partition)
            extents.append(
                _extent(registry, stream, partition, next_offset, bounds, missing, successor is None)
            )
            rest = _rest(stream, partition, next_offset, bounds, successor)
            left_out += [(where, piece) for piece in registry.not_excluded(where, rest)]
        if successor is None:
            left_out += _before_and_beside(registry, stream, ranges)
    return Survey(tuple(extents), tuple(left_out))


def _extent(
    registry: Registry,
    stream: Stream,
    partition: int,
    next_offset: int,
    bounds: tuple[int, int] | None,
    missing: str,
    is_open: bool,
) -> Extent:
    start = stream.start[partition]
    low, end = bounds or (next_offset, next_offset)
    first = max(start, min(low, next_offset))
    last, again = next_offset, None
    for later in registry.streams.values():
        # Read again from before H, the log had been cut: what stands there now need not be what was there.
        if (
            later.stream_id > stream.stream_id
            and later.topic_id == stream.topic_id
            and partition < len(later.start)
            and later.start[partition] < last
        ):
            last, again = later.start[partition], later
    last = max(first, last)
    unproven = []
    if start < first:
        unproven.append(Gone(range(start, first), f"the log begins at {low}" if bounds else missing))
    if last < next_offset:
        assert again is not None
        reason = (
            f"the log was truncated: stream {again.stream_id} reads it again from {again.start[partition]} on"
        )
        unproven.append(Gone(range(last, next_offset), reason))
    return Extent(
        stream.stream_id,
        partition,
        start,
        next_offset,
        proven=range(first, last),
        unproven=tuple(unproven),
        reading=range(max(start, low), end if is_open else min(end, last)),
    )


def _rest(
    stream: Stream,
    partition: int,
    next_offset: int,
    bounds: tuple[int, int] | None,
    successor: Stream | None,
) -> range:
    """Offsets from H on that this stream will never decide on."""
    if successor is None:
        return range(next_offset, bounds[0] if bounds else next_offset)
    if successor.topic_id == stream.topic_id and partition < len(successor.start):
        return range(next_offset, successor.start[partition])
    return range(next_offset, bounds[1] if bounds else next_offset)


def _before_and_beside(
    registry: Registry, stream: Stream, ranges: Mapping[int, tuple[int, int]]
) -> list[tuple[Partition, range]]:
    """Records of an open stream's log that lie before all streams of it, or in a partition of none."""
    lives = [other for other in registry.streams.values() if other.topic_id == stream.topic_id]
    found = []
    for partition, (low, end) in ranges.items():
        starts = [life.start[partition] for life in lives if partition < len(life.start)]
        if before := range(low, min((*starts, end))):
            found.append(((stream.stream_id, partition), before))
    return found
