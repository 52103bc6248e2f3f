"""Rows of a range of offsets, immutable: where they are kept, what is known of them, how small ones grow together.

A block tells which of its rows a symbol has, and the least and greatest of its times, so that a
reader touches only the rows it asks for. Both are found when first asked for: most blocks are
merged into larger ones before anybody asks. The index of symbols grows with the rows and counts
as theirs; who keeps rows elsewhere says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

FULL_ROWS = 32_768
"""A block of so many rows grows no more."""
INDEXED_ROWS = 1_024
"""Below, a look at every row is cheaper than an index."""
_ENTRY_BYTES = 200
"""Of a symbol in an index: its name, its bounds and their place in a dict, as tracemalloc has it."""
_FAN = 4
"""So many small neighbours become one block."""

Positions = npt.NDArray[np.int64]


class TimeSpan(NamedTuple):
    """Least and greatest of a column's times, microseconds."""

    least_us: int
    greatest_us: int


class Rows(Protocol):
    """Rows in offset order, as `Observed.rows` has them, wherever they are kept."""

    @property
    def count(self) -> int: ...

    @property
    def memory_bytes(self) -> int:
        """What dropping them would free."""
        ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def symbols(self) -> SymbolIndex | None:
        """As `indexed` makes it, for as long as it may be kept."""
        ...

    def slice(self, names: Sequence[str], start: int, stop: int) -> pl.DataFrame:
        """Rows [start, stop), these columns."""
        ...

    def take(self, names: Sequence[str], positions: Positions) -> pl.DataFrame:
        """Rows at these positions, these columns."""
        ...


@dataclass(frozen=True, eq=False)
class Resident:
    """Rows in memory, and their index once it was asked for."""

    frame: pl.DataFrame
    frame_bytes: int

    @property
    def memory_bytes(self) -> int:
        index = self.__dict__.get("symbols")
        return self.frame_bytes + (index.memory_bytes if index is not None else 0)

    @cached_property
    def symbols(self) -> SymbolIndex | None:
        return indexed(self)

    @property
    def count(self) -> int:
        return self.frame.height

    @property
    def names(self) -> Sequence[str]:
        return self.frame.columns

    def slice(self, names: Sequence[str], start: int, stop: int) -> pl.DataFrame:
        return self.frame[list(names)].slice(start, stop - start)

    def take(self, names: Sequence[str], positions: Positions) -> pl.DataFrame:
        return self.frame[list(names)][positions]


class SymbolIndex:
    """Positions of each symbol's rows, ascending."""

    def __init__(self, symbols: pl.Series) -> None:
        codes = symbols.to_physical().to_numpy()
        # A stable sort of small integers is a radix sort.
        small = codes.astype(np.uint16) if codes.max() < 2**16 else codes
        self._order = np.argsort(small, kind="stable").astype(np.int32)
        ordered = small[self._order]
        starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
        names = symbols.gather(self._order[starts]).cast(pl.String).to_list()
        stops = [*starts[1:].tolist(), len(ordered)]
        self._bounds = dict(zip(names, zip(starts.tolist(), stops, strict=True), strict=True))

    @property
    def memory_bytes(self) -> int:
        return int(self._order.nbytes) + _ENTRY_BYTES * len(self._bounds)

    def positions(self, symbols: Sequence[str]) -> Positions:
        found = [self._order[slice(*self._bounds[symbol])] for symbol in symbols if symbol in self._bounds]
        if not found:
            return np.empty(0, np.int64)
        joined = found[0] if len(found) == 1 else np.sort(np.concatenate(found))
        return joined.astype(np.int64)


def indexed(rows: Rows) -> SymbolIndex | None:
    """Made anew. None where there are too few rows for it, or rows without a symbol."""
    if rows.count < INDEXED_ROWS:
        return None
    column = rows.slice(["symbol"], 0, rows.count)["symbol"]
    return None if column.null_count() else SymbolIndex(column)


@dataclass(frozen=True, eq=False)
class Block:
    """What the offsets [lo, hi) came to. Offsets without a row (repeats, dead letters) count as held."""

    lo: int
    hi: int
    rows: Rows

    @cached_property
    def times(self) -> Mapping[str, TimeSpan]:
        """By column of a time that every row has; empty if there are no rows."""
        names = [
            name
            for name in ("timestamp", "ingestion_timestamp", "kafka_timestamp")
            if name in self.rows.names
        ]
        if not self.rows.count:
            return {}
        frame = self.rows.slice(names, 0, self.rows.count)
        values = {name: frame[name].cast(pl.Int64).to_numpy() for name in names}
        return {name: TimeSpan(int(column.min()), int(column.max())) for name, column in values.items()}

    @property
    def timestamps_us(self) -> npt.NDArray[np.int64]:
        """Of each row, for kinds that have one."""
        column = self.rows.slice(["timestamp"], 0, self.rows.count)["timestamp"]
        return column.cast(pl.Int64).to_numpy()

    @property
    def symbols(self) -> SymbolIndex | None:
        """None where there are too few rows for it, or rows without a symbol."""
        return self.rows.symbols

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        return self.rows.slice(["kafka_offset"], 0, self.rows.count)["kafka_offset"].to_numpy()

    def position(self, offset: int) -> int:
        """How many rows have a lower offset."""
        if offset <= self.lo:
            return 0
        if offset >= self.hi:
            return self.rows.count
        return int(np.searchsorted(self._offsets, offset))

    def until(self, offset: int) -> Block:
        """The part below `offset`, in memory."""
        return resident(self.lo, offset, self.rows.slice(self.rows.names, 0, self.position(offset)))


def resident(lo: int, hi: int, frame: pl.DataFrame) -> Block:
    """A block of rows in memory."""
    return Block(lo, hi, Resident(frame, int(frame.estimated_size()) if len(frame) else 0))


def appended(blocks: tuple[Block, ...], block: Block, floor: int) -> tuple[Block, ...]:
    """`blocks` with one more behind them, small neighbours merged.

    Neighbours are merged when four of them, none larger than all behind it, stand at the end: a
    row is copied a few times, and there are at most a few dozen small blocks. Blocks that begin
    below `floor` are left as they are: their rows are about to go, and others must not wait for
    them.
    """
    start, rows = len(blocks), block.rows.count
    while start and _grows(blocks[start - 1], floor) and blocks[start - 1].rows.count <= rows:
        start -= 1
        rows += blocks[start].rows.count
    if len(blocks) - start + 1 < _FAN and rows < FULL_ROWS:
        return (*blocks, block)
    return (*blocks[:start], _merged((*blocks[start:], block)))


def _grows(block: Block, floor: int) -> bool:
    return block.lo >= floor and block.rows.count < FULL_ROWS and isinstance(block.rows, Resident)


def _merged(blocks: Sequence[Block]) -> Block:
    frames = [block.rows.frame for block in blocks if isinstance(block.rows, Resident) and block.rows.count]
    frame = pl.concat(frames, rechunk=True) if frames else blocks[0].rows.slice(blocks[0].rows.names, 0, 0)
    return resident(blocks[0].lo, blocks[-1].hi, frame)
