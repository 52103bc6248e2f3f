"""A plan of history that is one frame in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import polars as pl

from seamark.query_gateway.sources import Window


class FramePlan:
    """A `HistoryPlan` but for its estimate: whoever has a frame may say what it would cost."""

    __slots__ = ()
    frame: pl.DataFrame
    """Rows that may match."""

    @property
    def newest_us(self) -> int | None:
        return self.frame["timestamp"].to_physical().max()  # type: ignore[return-value]

    def windows(self, target_rows: int) -> Sequence[Window]:
        """Three where there are times enough, however many rows are wanted: the cuts between are tried often."""
        times = sorted(set(self.frame["timestamp"].to_physical().to_list()))
        edges = [None, *times[1 :: max(1, len(times) // 3)][:2], None]
        return [Window(first, last) for first, last in pairwise(edges)]

    def made_of(self, edges_us: Sequence[int]) -> Sequence[frozenset[Hashable]]:
        """The rows themselves, by their places."""
        at = pl.col("timestamp").to_physical()
        places = ("stream_id", "kafka_partition", "kafka_offset", "repair_seq")
        return [
            frozenset(self.frame.filter(at >= first_us, at < next_us).select(places).iter_rows())
            for first_us, next_us in pairwise(edges_us)
        ]
