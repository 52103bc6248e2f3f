"""What replicas gave of ranges, put together: what is still to be asked for, and no row twice. Pure.

All replicas judge the log alike, so rows of one range may come from several of them, as long as
each offset comes from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.merge import below
from seamark.query_gateway.seam import reach
from seamark.query_gateway.sources import Coverage, Range

BUSY = "TAIL_BUSY"
"""Why a partition was not given: each replica that has it reads for too many already."""


@dataclass(slots=True)
class TailPieces:
    """Of `wanted`, each partition named once."""

    wanted: Sequence[Range]
    coverage: dict[StreamPartition, Coverage] = field(default_factory=dict)
    failed: dict[StreamPartition, str] = field(default_factory=dict)
    """Of partitions that nobody gave anything of."""
    frames: list[pl.DataFrame] = field(default_factory=list)
    """Rows of `coverage`, each once. They have stream_id, kafka_partition and kafka_offset where two replicas gave."""

    def rest(self) -> list[list[Range]]:
        """What to ask the next replica for, in requests that name each partition once."""
        lows, highs = [], []
        for one in self.wanted:
            given = self.coverage.get(one.where)
            if given is None:
                lows.append(one)
                continue
            if given.first > one.first:
                lows.append(replace(one, next=given.first))
            next_ = max(one.first, given.next)
            end = one.next
            if end is None:
                end = reach(given) if given.stopped else next_
            if next_ < end:
                highs.append(replace(one, first=next_))
        return [asked for asked in (lows, highs) if asked]

    def fail(self, asked: Sequence[Range], reason: str) -> None:
        """A replica gave nothing of these. Of several reasons the last counts, but for one that passes."""
        for one in asked:
            if one.where not in self.coverage and self.failed.get(one.where) != BUSY:
                self.failed[one.where] = reason

    def take(self, asked: Sequence[Range], frame: pl.DataFrame | None, given: Sequence[Coverage]) -> None:
        """A replica gave these rows of `given`. What does not touch what is there already is left out."""
        parts = {part.where: part for part in given}
        apart: dict[StreamPartition, int] = {}
        for one in asked:
            part = parts.get(one.where)
            if part is None:
                self.fail([one], "TAIL_UNASSIGNED")
                continue
            joined = _joined(self.coverage.get(one.where), part)
            if joined is None:
                apart[one.where] = part.next
                continue
            self.coverage[one.where] = joined
            self.failed.pop(one.where, None)
        if frame is not None and len(frame):
            self.frames.append(frame.filter(~below(apart)) if apart else frame)


def _joined(there: Coverage | None, new: Coverage) -> Coverage | None:
    """Both as one; None: they do not touch."""
    if there is None:
        return new
    if new.first == new.next:
        return there
    if there.first == there.next and there.first != new.next:
        return new
    if new.next == there.first:
        oldest_us = new.committed_append_us or there.committed_append_us
        return replace(there, first=new.first, lo=new.lo, committed_append_us=oldest_us)
    if there.next == new.first:
        oldest_us = there.committed_append_us or new.committed_append_us
        return replace(new, first=there.first, lo=there.lo, committed_append_us=oldest_us)
    return None
