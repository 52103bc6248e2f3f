"""Columns of row groups: kept, or read and decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl
from pyiceberg.table import Table

from seamark.market.schema import RecordKind
from seamark.query_gateway.direct.datafile_cache import DataFiles
from seamark.query_gateway.direct.decode import decode
from seamark.query_gateway.direct.lru import Lru

_Columns: TypeAlias = dict[str, pl.Series | None]
"""Of one row group; None: not here yet."""

_NEVER_ONE_VALUE = (pl.Decimal, pl.Datetime, pl.List)
"""Types not looked at: comparing them would take longer than it saves."""


@dataclass(frozen=True, slots=True)
class Group:
    """A row group that is read."""

    number: int
    rows: int
    columns: tuple[str, ...]
    sure: bool
    """Every row of it matches."""
    keep: bool
    """It is wanted again soon."""


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
        self._kept: Lru[tuple[str, int, str], pl.Series] = Lru(cache_bytes)
        self._pool = pool

    def begin(
        self, kind: RecordKind, table: Table, part: Part, cancelled: threading.Event
    ) -> Callable[[], list[pl.DataFrame]]:
        """A call that waits for all rows of each of the part's groups; at once, where all is kept.

        It gives nothing if `cancelled` is set before it was its turn.

        Raises (the call):
            SnapshotGone, DirectReadRefused, CatalogUnavailable
        """
        held: list[_Columns] = [
            {name: self._column(part, group, name) for name in group.columns} for group in part.groups
        ]
        if all(series is not None for found in held for series in found.values()):
            return lambda: _frames(held)
        return self._pool.submit(self._read, kind, table, part, held, cancelled).result

    def _column(self, part: Part, group: Group, name: str) -> pl.Series | None:
        kept = self._kept.get((part.path, group.number, name))
        return kept.new_from_index(0, group.rows) if kept is not None and len(kept) == 1 else kept

    def _keep(self, part: Part, group: Group, series: pl.Series) -> None:
        # Of the columns of one symbol in one file, half hold a single value.
        if len(series) > 1 and series.dtype not in _NEVER_ONE_VALUE and series.eq_missing(series[0]).all():
            series = series.gather([0])  # a copy: a slice would hold them all
        self._kept.put((part.path, group.number, series.name), series, int(series.estimated_size()))

    def _read(
        self, kind: RecordKind, table: Table, part: Part, held: list[_Columns], cancelled: threading.Event
    ) -> list[pl.DataFrame]:
        if cancelled.is_set():
            return []
        lacking = [
            (group, found, names)
            for group, found in zip(part.groups, held, strict=True)
            if (names := [name for name, series in found.items() if series is None])
        ]
        footer = self._data.footer(kind, table, part.path, part.size_bytes)
        ranges = [one for group, _, names in lacking for one in footer.ranges(group.number, names)]
        source = self._data.source(table, footer, ranges)
        decoded = decode(source, footer, kind, [(group.number, names) for group, _, names in lacking])
        for (group, found, _), columns in zip(lacking, decoded, strict=True):
            for series in columns:
                found[series.name] = series
                if group.keep:
                    self._keep(part, group, series)
        return _frames(held)


def _frames(held: Sequence[_Columns]) -> list[pl.DataFrame]:
    return [pl.DataFrame([*found.values()]) for found in held]
