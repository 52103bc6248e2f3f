"""From views to an answer's rows: which offsets are covered, and the rows of them that match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate, PredicateInvalid
from seamark.market.schema import RecordKind, row_schema
from seamark.stream.block import no_rows
from seamark.stream.rows import Positions, with_stream
from seamark.stream.topics import FEED_EVENTS
from seamark.tail_cache.blocks import FULL_ROWS, INDEXED_ROWS, Block
from seamark.tail_cache.partition import View

_SHARED = frozenset(("stream_id", "kafka_partition", "repair_seq", "asset_class"))
"""Columns that all rows of a partition have alike: not kept by row."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Offsets [first, next) of a partition; `next` None: all there are."""

    where: StreamPartition
    first: int
    next: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Covered:
    """What is given of an asked range: all rows of [first, next). `view` None: it is not held."""

    asked: Asked
    view: View | None
    first: int
    next: int


def cover(asked: Asked, view: View | None) -> Covered:
    """The part of a range that a view has. Where it has nothing of it, [first, next) is empty."""
    if view is None:
        return Covered(asked, None, asked.first, asked.first)
    wanted = view.hi if asked.next is None else asked.next
    first = min(max(asked.first, view.lo), max(wanted, asked.first))
    return Covered(asked, view, first, max(first, min(wanted, view.hi)))


@lru_cache(maxsize=256)
def _schema(kind: RecordKind, columns: tuple[str, ...]) -> pa.Schema:
    nothing = np.empty(0, np.int64)
    rows = Positions(nothing, nothing).beside(no_rows(kind), None)
    schema: pa.Schema = with_stream(rows, StreamPartition(0, 0), FEED_EVENTS)[list(columns)].to_arrow().schema
    return schema


class Reader:
    """Finds the rows that one request asks for."""

    def __init__(self, kind: RecordKind, columns: Sequence[str], predicate: Predicate) -> None:
        """`columns`: names of `row_schema(kind)`; none: all.

        Raises:
            PredicateInvalid: a column that such rows do not have, or one named twice.
        """
        names = row_schema(kind).names
        for column in columns:
            if column not in names:
                raise PredicateInvalid(
                    "columns", f"column was {column[:64]!r}, must be one of {', '.join(names)}"
                )
        if len(set(columns)) < len(columns):
            raise PredicateInvalid("columns", f"columns were {', '.join(columns)}, must be named once each")
        self._columns = list(columns) or names
        needed = {*self._columns, *predicate.columns}
        self._shared = bool(needed & _SHARED)
        self._shared_asked = bool(predicate.columns & _SHARED)
        # A frame without columns would have no rows.
        self._kept = [name for name in names if name in needed - _SHARED] or ["kafka_offset"]
        self._asked = predicate
        # By what is left to be asked of rows: whether their symbol matches, and whether their times do.
        timeless = replace(predicate, from_us=None, to_us=None, known_at_us=None)
        self._left = {
            (False, False): predicate.expression(),
            (False, True): timeless.expression(),
            (True, False): replace(predicate, symbols=()).expression(),
            (True, True): replace(timeless, symbols=()).expression(),
        }
        self.schema = _schema(kind, tuple(self._columns))
        """Of all batches: `row_schema(kind)`, but text that repeats as dictionaries."""

    def batches(self, covered: Sequence[Covered]) -> Iterator[pa.RecordBatch]:
        """Matching rows, by partition and otherwise in no order; batches of any size but empty."""
        for part in covered:
            if part.view is not None:
                for rows in self._partition(part.view, part.first, part.next):
                    yield from rows.to_arrow().to_batches()

    def _partition(self, view: View, first: int, next_: int) -> Iterator[pl.DataFrame]:
        # What one look at rows costs hardly depends on how many there are, and there may be dozens
        # of small blocks, or a few rows of a symbol in each of many large ones.
        waiting: dict[tuple[bool, bool], list[pl.DataFrame]] = {left: [] for left in self._left}
        counts = dict.fromkeys(self._left, 0)
        for block in view.blocks:
            start, stop = block.position(first), block.position(next_)
            if start >= stop or (found := self._candidates(block, start, stop)) is None:
                continue
            left, rows = found
            waiting[left].append(rows)
            counts[left] += len(rows)
            if counts[left] >= FULL_ROWS:
                yield from self._finished(view, waiting[left], left)
                waiting[left], counts[left] = [], 0
        if sum(counts.values()) < INDEXED_ROWS * 4:
            waiting = {(False, False): [rows for group in waiting.values() for rows in group]}
        for left, group in waiting.items():
            if group:
                yield from self._finished(view, group, left)

    def _candidates(
        self, block: Block, start: int, stop: int
    ) -> tuple[tuple[bool, bool], pl.DataFrame] | None:
        """Rows of a block that may match, and which of symbol and times need not be looked at any more."""
        if block.rows.count < INDEXED_ROWS:
            return (False, False), block.rows.slice(self._kept, start, stop)
        inside = self._inside(block)
        if inside is False:
            return None
        if not self._asked.symbols or block.symbols is None:
            return (False, inside is True), block.rows.slice(self._kept, start, stop)
        positions = block.symbols.positions(self._asked.symbols)
        if start or stop < block.rows.count:
            positions = positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)]
        return ((True, inside is True), block.rows.take(self._kept, positions)) if len(positions) else None

    def _inside(self, block: Block) -> bool | None:
        """Whether the times of all rows (True) or of none (False) match, going by their span; None: some."""
        asked = self._asked
        all_inside = True
        for name, from_us, to_us in (
            (asked.clock.value, asked.from_us, asked.to_us),
            ("kafka_timestamp", None, None if asked.known_at_us is None else asked.known_at_us + 1),
        ):
            if from_us is None and to_us is None:
                continue
            least_us, greatest_us = block.times[name]
            if from_us is not None and greatest_us < from_us or to_us is not None and least_us >= to_us:
                return False
            all_inside &= from_us is None or least_us >= from_us
            all_inside &= to_us is None or greatest_us < to_us
        return all_inside or None

    def _finished(
        self, view: View, group: Sequence[pl.DataFrame], left: tuple[bool, bool]
    ) -> Iterator[pl.DataFrame]:
        rows = group[0] if len(group) == 1 else pl.concat(group, rechunk=True)
        if self._shared_asked:
            rows = with_stream(rows, view.where, view.topic.topic)
        if (expression := self._left[left]) is not None:
            rows = rows.filter(expression)
        if not len(rows):
            return
        if self._shared and not self._shared_asked:
            rows = with_stream(rows, view.where, view.topic.topic)
        yield rows[self._columns]
