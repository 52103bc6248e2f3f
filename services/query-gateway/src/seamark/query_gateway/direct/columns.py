"""Columns of row groups: kept, or read and decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import polars as pl
from pyiceberg.table import Table

from seamark.market.schema import RecordKind
from seamark.query_gateway.direct.datafile_cache import DataFiles
from seamark.query_gateway.direct.decode import decode
from seamark.query_gateway.lru import Lru


@dataclass(frozen=True, slots=True)
class Group:
    """A row group that is read."""

    number: int
    columns: tuple[str, ...]
    sure: bool
    """Every row of it matches."""
    keep: bool
    """All of it is wanted again soon."""
    symbol: str = ""
    """Only its rows of this symbol are wanted, and again soon; then `keep` is not set."""


@dataclass(frozen=True, slots=True)
class Part:
    """Row groups of one file that are read in one go."""

    path: str
    size_bytes: int
    groups: tuple[Group, ...]


class ColumnReader:
    """Reads parts. Any thread may ask."""

    def __init__(self, data: DataFiles, cache_bytes: int, pool: Executor) -> None:
        """`cache_bytes`: of decoded columns."""
        self._data = data
        self._kept: Lru[tuple[str, int, str], pl.DataFrame] = Lru(cache_bytes)
        """By path, number of the group, and the symbol that its rows are of; empty: all of them."""
        self._pool = pool

    def begin(
        self, kind: RecordKind, table: Table, part: Part, cancelled: threading.Event
    ) -> Callable[[], list[pl.DataFrame]]:
        """A call that waits for each of the part's groups: for all of its rows, those of its symbol at least; at
        once, where all is kept.

        It gives nothing if `cancelled` is set before it was its turn.

        Raises (the call):
            SnapshotGone, DirectReadRefused, CatalogUnavailable
        """
        kept, lacking = zip(*(self._held(part.path, group) for group in part.groups), strict=True)
        if any(lacking):
            return self._pool.submit(self._read, kind, table, part, kept, lacking, cancelled).result
        found = [
            _selected(frame, group)
            for frame, group in zip(kept, part.groups, strict=True)
            if frame is not None
        ]
        return lambda: found

    def _held(self, path: str, group: Group) -> tuple[pl.DataFrame | None, Sequence[str]]:
        """What is kept of it, and the columns that this lacks."""
        frame = self._kept.get((path, group.number, ""))
        lacking = group.columns if frame is None else _without(group.columns, frame.columns)
        if lacking and group.symbol:
            of_symbol = self._kept.get((path, group.number, group.symbol))
            if of_symbol is not None and not _without(group.columns, of_symbol.columns):
                return of_symbol, ()
        return frame, lacking

    def _read(
        self,
        kind: RecordKind,
        table: Table,
        part: Part,
        kept: Sequence[pl.DataFrame | None],
        lacking: Sequence[Sequence[str]],
        cancelled: threading.Event,
    ) -> list[pl.DataFrame]:
        if cancelled.is_set():
            return []
        wanted = [
            # What is kept has all rows, and so must have what is put beside it.
            (group.number, names, group.symbol if before is None else "")
            for group, names, before in zip(part.groups, lacking, kept, strict=True)
        ]
        footer = self._data.footer(kind, table, part.path, part.size_bytes)
        ranges = [one for number, names, _ in wanted for one in footer.ranges(number, names)]
        source = self._data.source(table, footer, ranges)
        frames = []
        for group, before, decoded in zip(
            part.groups, kept, decode(source, footer, kind, wanted), strict=True
        ):
            frame = decoded if before is None else pl.concat([before, decoded], how="horizontal")
            if group.keep or (group.symbol and before is None):
                key = (part.path, group.number, group.symbol)
                self._kept.put(key, frame, int(frame.estimated_size()))
            frames.append(_selected(frame, group))
        return frames


def _without(names: Sequence[str], held: Collection[str]) -> list[str]:
    return [name for name in names if name not in held]


def _selected(frame: pl.DataFrame, group: Group) -> pl.DataFrame:
    """A copy of the columns: what is done to it does not spread out the one value that a kept column holds."""
    return frame[group.columns]
