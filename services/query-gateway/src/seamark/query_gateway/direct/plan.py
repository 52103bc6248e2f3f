"""What a read touches. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from pyiceberg.table import Table

from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.sources import HistoryEstimate, Window

_DECODED_AT_MOST = 4
"""How often the largest row group may be decoded to stream an answer, about."""
_UNKNOWN = np.iinfo(np.int64)
"""Ends of a piece that does not say its own."""
_Integers: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """Pieces of one snapshot that may hold matching rows."""

    kind: RecordKind
    table: Table
    predicate: Predicate
    columns: tuple[str, ...]
    pieces: pl.DataFrame
    refined: bool
    """Whether these are row groups; else they are files whose footers were not read."""

    @property
    def estimate(self) -> HistoryEstimate:
        """Rows: at most. Bytes: as stored, of the columns that are given or compared."""
        places = {name: place for place, name in enumerate(row_schema(self.kind).names)}
        read = [places[name] for name in {*self.columns, *self.predicate.columns}]
        sizes = self.pieces["sizes"].to_numpy()
        return HistoryEstimate(
            rows=int(self.pieces["rows"].sum()),
            bytes=int(sizes[:, read].sum()),
            files=self.pieces["path"].n_unique(),
        )

    @property
    def newest_us(self) -> int | None:
        """No matching row has a later `timestamp`; None: there is none, or a piece does not say."""
        greatest = self.pieces["timestamp_max"]
        return None if not len(greatest) or greatest.has_nulls() else int(greatest.max())  # type: ignore[arg-type]

    def windows(self, target_rows: int) -> Sequence[Window]:
        """Ascending windows that tile all time, each with about so many rows; at least one.

        Rows are taken to be spread evenly between the bounds of their group. A group is decoded for each window
        that touches it, so windows are never much shorter than the largest. Kinds in the order of the log have
        one window.
        """
        known = self.pieces.drop_nulls(["timestamp_min", "timestamp_max"])
        if not self.kind.sequenced or known.is_empty():
            return [Window()]
        counts = known["rows"].to_numpy()
        times, rows_before = _rows_before(
            known["timestamp_min"].to_numpy(), known["timestamp_max"].to_numpy() + 1, counts
        )
        if self.predicate.clock is Clock.EVENT:
            first, behind = self.predicate.from_us, self.predicate.to_us
        else:
            first = behind = None
        ends = [times[0] if first is None else first, times[-1] if behind is None else behind]
        low, high = np.interp(ends, times, rows_before)
        target = max(target_rows, int(counts.max()) // _DECODED_AT_MOST, 1)
        count = int((high - low) / target)
        levels = low + (high - low) * np.arange(1, count) / max(count, 1)
        edges = sorted({int(cut) for cut in np.interp(levels, rows_before, times)})
        return [Window(*ends) for ends in pairwise([None, *edges, None])]

    def made_of(self, edges_us: Sequence[int]) -> Sequence[frozenset[Hashable]]:
        """Pieces that may lie from each edge to the next; edges ascend. A file never changes, nor do its row groups."""
        names, least, greatest = self._spans
        return [
            frozenset(names[(least < next_us) & (greatest >= first_us)])
            for first_us, next_us in pairwise(edges_us)
        ]

    @cached_property
    def _spans(self) -> tuple[npt.NDArray[np.object_], _Integers, _Integers]:
        """Names of the pieces, their first and last times. Bars look at many stretches of one plan."""
        names = np.empty(len(self.pieces), object)
        names[:] = [*self.pieces.select("path", *(["group"] if self.refined else [])).iter_rows()]
        least = self.pieces["timestamp_min"].fill_null(_UNKNOWN.min).to_numpy()
        greatest = self.pieces["timestamp_max"].fill_null(_UNKNOWN.max).to_numpy()
        return names, least, greatest


def _rows_before(first_us: _Integers, behind_us: _Integers, rows: _Integers) -> tuple[_Integers, _Floats]:
    """(instants, rows before each) of rows spread evenly over [first, behind)."""
    rate = rows / (behind_us - first_us)
    times, at = np.unique(np.concatenate([first_us, behind_us]), return_inverse=True)
    change = np.bincount(at, weights=np.concatenate([rate, -rate]))
    passed = np.cumsum(change)[:-1] * np.diff(times)
    return times, np.concatenate([[0.0], np.cumsum(passed)])
