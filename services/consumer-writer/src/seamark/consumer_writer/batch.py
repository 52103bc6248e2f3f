"""A batch: what one commit carries. Immutable from its first attempt.

Were a batch to grow or shrink between attempts, an attempt that landed unseen and a later
one of another extent could both be taken for the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from seamark.consumer_writer.rows import batch_rows
from seamark.lake.checkpoint import Counters, ExcludedRange, StreamPartition
from seamark.market.schema import RecordKind
from seamark.sequencing.state import PartitionState


@dataclass(frozen=True, slots=True)
class Range:
    """The part of a batch that one partition gives: offsets `[first, next)`, all decided."""

    first: int
    next: int
    leader_epoch: int
    append_us: int
    counters: Counters
    """What became of exactly these offsets: the sum is next − first."""
    state: PartitionState
    """state(next)."""

    def __post_init__(self) -> None:
        if self.counters.total != self.next - self.first:
            raise ValueError(
                f"range [{self.first}, {self.next}) has {self.next - self.first} offsets, "
                f"{self.counters} accounts for {self.counters.total}"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """Ranges of one table's partitions, and the rows that they came to."""

    batch_id: str
    kind: RecordKind
    ranges: Mapping[StreamPartition, Range]
    topics: Mapping[int, str]
    """Topic by stream: its id is compared with the cluster's before each commit."""
    frames: Mapping[StreamPartition, tuple[pl.DataFrame, ...]]
    """Accepted rows of each range, as buffered."""
    lost: tuple[ExcludedRange, ...] = ()
    """Offsets that the log no longer had (`on_log_start=lost`)."""

    @cached_property
    def rows(self) -> pa.Table:
        """All rows, sorted as the table declares. Made on first use: sorting is the commit thread's work."""
        rows = batch_rows(self.kind, self.topics, self.frames)
        # The same rows once more, unsorted: half of a batch's memory.
        object.__setattr__(self, "frames", {})
        return rows

    @property
    def written(self) -> int:
        return sum(range_.counters.written for range_ in self.ranges.values())

    @property
    def size_bytes(self) -> int:
        """Bytes held by the rows as buffered."""
        return sum(int(frame.estimated_size()) for frames in self.frames.values() for frame in frames)


def batch_id(
    ranges: Mapping[StreamPartition, Range], writer_id: str, lost: Sequence[ExcludedRange] = ()
) -> str:
    """Hash of the {partition: first, next} vector, of what of it is lost, and the writer's own id (80 bits, hex).

    Two writers with the same offsets, one of them a zombie, must not take each other's commit for
    their own; nor one writer that of a batch which still had the records that this one lacks.
    """
    vector = [f"{where}:{r.first}-{r.next}" for where, r in sorted(ranges.items())]
    gone = [f"{one.where}:{one.first}-{one.next} {one.cause}" for one in lost]
    return hashlib.sha256(";".join([writer_id, *vector, *gone]).encode()).hexdigest()[:20]
