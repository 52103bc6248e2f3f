"""From views to an answer's rows: which offsets are covered, and the rows of them that match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate, PredicateInvalid
from seamark.market.schema import RecordKind, row_schema
from seamark.stream import rows as log_rows
from seamark.stream.block import no_rows
from seamark.stream.rows import SHARED, with_stream, with_streams
from seamark.stream.topics import FEED_EVENTS
from seamark.tail_cache.blocks import FULL_ROWS, INDEXED_ROWS, Block, Positions
from seamark.tail_cache.near import Near
from seamark.tail_cache.partition import View


class _Left(NamedTuple):
    """What need not be asked of rows any more."""

    times_are_sure: bool = False
    symbol_is_sure: bool = False


class _Found(NamedTuple):
    """Rows of one block."""

    of: tuple[StreamPartition, str]
    """The partition, and its topic."""
    rows: pl.DataFrame


_ALL_LEFT = _Left()
_LEFT = tuple(_Left(*sure) for sure in product((False, True), repeat=2))


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
    rows = log_rows.Positions(nothing, nothing).beside(no_rows(kind), None)
    schema: pa.Schema = with_stream(rows, StreamPartition(0, 0), FEED_EVENTS)[list(columns)].to_arrow().schema
    return schema


class Reader:
    """Finds the rows that one request asks for."""

    def __init__(
        self,
        kind: RecordKind,
        columns: Sequence[str],
        predicate: Predicate,
        nearest: Nearest | None = None,
    ) -> None:
        """`columns`: names of `row_schema(kind)`; none: all. `nearest`: of a kind that has a `timestamp`.

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
        needed = {*self._columns, *predicate.columns, *(("timestamp",) if nearest else ())}
        self._nearest = nearest
        self._shared = needed & SHARED
        self._shared_asked = bool(predicate.columns & SHARED)
        # A frame without columns would have no rows.
        self._kept = [name for name in names if name in needed - SHARED] or ["kafka_offset"]
        self._asked = predicate
        self._conditions: dict[_Left, pl.Expr | None] = {}
        self.schema = _schema(kind, tuple(self._columns))
        """Of all batches: `row_schema(kind)`, but text that repeats as dictionaries."""

    def batches(self, covered: Sequence[Covered]) -> Iterator[pa.RecordBatch]:
        """Matching rows in no order; batches of any size but empty."""
        if self._asked.symbols and not any(self._asked.symbols):
            return  # no record has an empty one (`stream.values`): only the coverage is of use
        near = Near(self._nearest) if self._nearest is not None else None
        # What one look at rows costs hardly depends on how many there are, and each partition may have
        # dozens of small blocks, or a few rows of a symbol in each of many large ones.
        waiting: dict[_Left, list[_Found]] = {left: [] for left in _LEFT}
        counts = dict.fromkeys(_LEFT, 0)
        # Where few are wanted: soon an idea of how near that is.
        enough = FULL_ROWS if near is None else min(FULL_ROWS, max(4 * INDEXED_ROWS, 2 * near.rows))
        for left, found in self._found(covered, near):
            waiting[left].append(found)
            counts[left] += len(found.rows)
            if counts[left] >= enough:
                yield from self._finished(waiting[left], left, near)
                waiting[left], counts[left] = [], 0
        if sum(counts.values()) < INDEXED_ROWS * 4:
            waiting = {_ALL_LEFT: [found for group in waiting.values() for found in group]}
        for left, group in waiting.items():
            if group:
                yield from self._finished(group, left, near)

    def _found(self, covered: Sequence[Covered], near: Near | None) -> Iterator[tuple[_Left, _Found]]:
        """Rows that may match, block by block, those first that are wanted first."""
        for part in covered:
            if part.view is None:
                continue
            of = (part.view.where, part.view.topic.topic)
            blocks = part.view.blocks
            for block in blocks[::-1] if near is not None and near.latest else blocks:
                start, stop = block.position(part.first), block.position(part.next)
                if start < stop and (found := self._candidates(block, start, stop, near)) is not None:
                    yield found[0], _Found(of, found[1])

    def _candidates(
        self, block: Block, start: int, stop: int, near: Near | None
    ) -> tuple[_Left, pl.DataFrame] | None:
        """Rows of a block that may match, and which of symbol and times need not be looked at any more."""
        if block.rows.count < INDEXED_ROWS:
            return _ALL_LEFT, block.rows.slice(self._kept, start, stop)
        inside = self._inside(block)
        if inside is False or (near is not None and not near.reaches(block.times["timestamp"])):
            return None
        positions: Positions | None = None  # all of [start, stop)
        if self._asked.symbols and block.symbols is not None:
            positions = block.symbols.positions(self._asked.symbols)
            if start or stop < block.rows.count:
                positions = positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)]
        left = _Left(times_are_sure=inside is True, symbol_is_sure=positions is not None)
        if near is not None and self._condition(left) is None:
            # All of them match: their times are looked at before anything else of them is copied.
            if positions is None:
                positions = start + np.flatnonzero(near.among(block.timestamps_us[start:stop]))
            else:
                positions = positions[near.among(block.timestamps_us[positions])]
        if positions is None:
            return left, block.rows.slice(self._kept, start, stop)
        return (left, block.rows.take(self._kept, positions)) if len(positions) else None

    def _condition(self, left: _Left) -> pl.Expr | None:
        """Of rows of which so much is known; made once, and where it is asked for: making it costs more
        than looking at a few rows."""
        if left not in self._conditions:
            asked = self._asked
            if left.times_are_sure:
                asked = replace(asked, from_us=None, to_us=None, known_at_us=None)
            if left.symbol_is_sure:
                asked = replace(asked, symbols=())
            self._conditions[left] = asked.expression()
        return self._conditions[left]

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

    def _finished(self, group: Sequence[_Found], left: _Left, near: Near | None) -> Iterator[pa.RecordBatch]:
        rows = group[0].rows if len(group) == 1 else pl.concat([one.rows for one in group], rechunk=True)
        parts = {one.of for one in group}
        # Of one partition alone they can be told behind the filter, too, which then has less to copy.
        early = bool(self._shared) and (self._shared_asked or len(parts) > 1)
        if early:
            counts = [len(one.rows) for one in group]
            rows = with_streams(rows, [one.of for one in group], counts, self._shared)
        if (expression := self._condition(left)) is not None:
            rows = rows.filter(expression)
        if near is not None:
            wanted = near.take(rows["timestamp"].cast(pl.Int64).to_numpy())
            rows = rows if wanted.all() else rows.filter(pl.Series(wanted))
        if not len(rows):
            return
        if self._shared and not early:
            rows = with_streams(rows, [group[0].of], [len(rows)], self._shared)
        yield from rows[self._columns].to_arrow().to_batches()
