"""Opens the tables of a question, chooses who reads their history, and writes the answer's header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import polars as pl

from seamark.market.nearest import Nearest
from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.consistency import want_of
from seamark.query_gateway.cursor import Cursor, CursorCodec, CursorTooLong, TableCursor
from seamark.query_gateway.ended_streams import knows_ended, with_ended, without_ended
from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.header import AnswerHeader, Estimate, Gap
from seamark.query_gateway.level import Level
from seamark.query_gateway.merge import Position, time_of
from seamark.query_gateway.ordered_rows import ordered_frames, tail_suffices
from seamark.query_gateway.pin import Known, Pin
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.planning import NOTHING, Planner, estimate_of
from seamark.query_gateway.question import Consistency, Engine
from seamark.query_gateway.reading import OpenTable, TableOpener
from seamark.query_gateway.running import Call
from seamark.query_gateway.sources import History, HistoryEstimate, HistoryPlan, SnapshotGone, Window
from seamark.query_gateway.want import Want

T = TypeVar("T")


_MOST_NEAREST = 2**31
"""A limit beyond it is none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may take. 0: no limit."""

    direct_bytes: int = 2 * 1024**3
    """Compressed bytes above which Trino reads, where there is one."""
    rows: int = 0
    """Rows that history may have to be read for one answer (upper bound of the estimate)."""
    join_rows: int = 0
    """Rows of one side that may have to be read for a join, by the same estimate: it is made in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A table opened for one question, with who reads its history."""

    table: OpenTable
    engine: Engine
    plan: HistoryPlan | None
    """None: history is proven to hold nothing of it."""
    estimate: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class NamedGaps:
    """Gaps as a header names them, and what they were read from."""

    gaps: tuple[Gap, ...] | None = ()
    """None: nobody can say."""
    ledger: OpenTable | None = None
    """Set where it is not among the tables of the answer anyway."""


class Opening:
    """What all kinds of questions share."""

    def __init__(
        self,
        pins: PinCache,
        opener: TableOpener,
        histories: Mapping[Engine, History],
        codec: CursorCodec,
        limits: Limits,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        level: Callable[[], Level] = lambda: Level.NORMAL,
    ) -> None:
        """`level`: how degraded the whole is, as headers say."""
        self.pins = pins
        self._level = level
        self.codec = codec
        self._opener = opener
        self._planner = Planner(histories, limits.direct_bytes)
        self._limits = limits
        self.now_us = now_us

    def want(self, consistency: Consistency, table: str, question: str) -> Want:
        """How much of a table's log is meant. Raises Invalid."""
        return want_of(consistency, table, self.codec.decode, question, self.now_us())

    async def open(
        self,
        kind: RecordKind,
        predicate: Predicate,
        columns: Sequence[str],
        want: Want,
        call: Call,
        engine: Engine | None = None,
        known: Known | None = None,
        nearest: Nearest | None = None,
    ) -> Opened:
        """Open a table and plan its history, both at once. `known`: as `read` has it; `nearest`: rows that are
        enough, of what is not in history."""
        want = await self._whole(kind, want)
        pin = self.pins.current(kind)
        planning = asyncio.create_task(self._planner.plan(pin, predicate, columns, engine, known))
        try:
            table = await self._opener.open(kind, predicate, columns, want, call, nearest)
            planned = await planning
        finally:
            planning.cancel()
        if table.pin.snapshot_id != pin.snapshot_id:
            planned = await self._planner.plan(table.pin, predicate, columns, engine, known)
        if self._limits.rows and planned.estimate.rows > self._limits.rows:
            raise TooCostly(
                f"history would be read for up to {planned.estimate.rows:,} rows, must be at most {self._limits.rows:,}: "
                f"ask for fewer symbols or a shorter time"
            )
        return Opened(table, *planned)

    async def read(
        self,
        kind: RecordKind,
        predicate: Predicate,
        columns: Sequence[str],
        want: Want,
        call: Call,
        take: Callable[[AsyncIterator[pl.DataFrame]], Awaitable[T]],
        *,
        engine: Engine | None = None,
        limit: int = 0,
        descending: bool = False,
        position: Position | None = None,
        known: Known | None = None,
        stretches: Callable[[Opened], Sequence[Window] | None] | None = None,
    ) -> tuple[Opened, T]:
        """A table opened, and what `take` makes of its rows (`ordered_frames`, with `columns`).

        `known`: rows that are of no use; a history that has no others is not read. `stretches`: which times are
        read of what was opened, as `ordered_frames` has it; in a thread, for plans may be large.

        A snapshot whose files are gone has expired: then once more from the newest one, with the same E;
        `take` is called anew.

        Raises:
            SnapshotGone: files of that one are gone, too. What `open` and `ordered_frames` raise.
        """
        opened: Opened | None = None
        nearest = None
        if 0 < limit < _MOST_NEAREST and kind.sequenced:
            # One more than is given: whether there are more is said, too.
            nearest = Nearest(limit + 1, descending, None if position is None else time_of(position))
        for attempt in (1, 2):
            try:
                opened = await self.open(kind, predicate, columns, want, call, engine, known, nearest)
                if nearest is not None and tail_suffices(opened.table, opened.plan, nearest):
                    opened = Opened(opened.table, *NOTHING)
                times = await asyncio.to_thread(stretches, opened) if stretches is not None else None
                frames = ordered_frames(
                    opened.table,
                    self.history(opened),
                    opened.plan,
                    columns,
                    call,
                    limit,
                    descending,
                    position,
                    times,
                )
                return opened, await take(frames)
            except SnapshotGone:
                if attempt == 2:
                    raise
                await self.pins.refresh(kind)
                if opened is not None:
                    want = Want(opened.table.end, revision=want.revision, known_at_us=want.known_at_us)
        raise AssertionError("two attempts return or raise")

    async def _whole(self, kind: RecordKind, want: Want) -> Want:
        """With the offsets of streams that its cursor names by their ids. Raises Gone, Unavailable."""
        if want.ended is None or want.end is None:
            return want
        pin = self.pins.current(kind)
        if not knows_ended(pin, want.ended):
            # Another gateway has seen them end before this one.
            pin = await self.pins.refresh(kind)
        return replace(want, end=with_ended(pin, want.end, want.ended), ended=None)

    def unread(self, kind: RecordKind, reason: str) -> Opened:
        """A table that an answer could not wait for: its header says that all behind H(S) is missing.

        Raises:
            Unavailable: it was never loaded.
        """
        return Opened(self._opener.unread(kind, reason), *NOTHING)

    async def estimate(
        self, pin: Pin, predicate: Predicate, columns: Sequence[str], engine: Engine | None
    ) -> Estimate:
        """What answering this takes: history, and the rows that wait behind it."""
        history = (await self._planner.plan(pin, predicate, columns, engine)).estimate
        waiting = self._opener.seen.records_behind(pin, predicate.symbols)
        return estimate_of(
            HistoryEstimate(history.rows + waiting, history.bytes, history.files), history.engine
        )

    async def check_join(self, kind: RecordKind, predicate: Predicate, columns: Sequence[str]) -> None:
        """Raises TooCostly: reading this for a join would be too much."""
        limit = self._limits.join_rows
        if not limit:
            return
        estimate = await self.estimate(self.pins.current(kind), predicate, columns, None)
        if estimate.rows > limit:
            raise TooCostly(
                f"up to {estimate.rows:,} {kind.value} would be read for the join, must be at most {limit:,}: ask "
                f"for a shorter time, fewer symbols, or say with tolerance_us how old a quote may be"
            )

    def history(self, opened: Opened) -> History:
        return self._planner.history(opened.engine)

    def cursor(
        self,
        question: str,
        opened: Sequence[Opened],
        gaps: NamedGaps = NamedGaps(),
        position: Position | None = None,
    ) -> str:
        """The cursor of an answer made of these tables; empty where their vectors do not fit into one."""
        tables = {}
        for table in _tables(opened, gaps):
            end, ended = without_ended(table.pin, table.end)
            tables[table.kind.value] = TableCursor(
                table.pin.snapshot_id, end, table.pin.revision, table.known_at_us, ended
            )
        try:
            return self.codec.encode(Cursor(question, tables, position))
        except CursorTooLong:
            return ""

    def header(
        self,
        opened: Sequence[Opened],
        question: str,
        clock: Clock,
        call: Call,
        gaps: NamedGaps = NamedGaps(),
    ) -> AnswerHeader:
        """The header of an answer made of these tables. The ledger of gaps is named beside them: exact, freshness
        and estimate are about the rows."""
        reasons = [one.table.pin.doubt for one in opened if one.table.pin.doubt]
        lacking = [
            f"{gone.where} of {one.table.kind.value} from {gone.first} to "
            f"{'an unknown end' if gone.next is None else gone.next}: {gone.reason}"
            for one in opened
            for gone in one.table.header.missing
        ]
        if lacking:
            reasons.append("offsets are missing: " + "; ".join(lacking))
        rows, read_bytes, files, cost = (
            sum(getattr(one.estimate, name) for one in opened) for name in ("rows", "bytes", "files", "cost")
        )
        engine = Engine.TRINO if any(one.engine is Engine.TRINO for one in opened) else Engine.DIRECT
        exact = not reasons
        cursor = self.cursor(question, opened, gaps)
        if not cursor:
            partitions = sum(len(table.end) for table in _tables(opened, gaps))
            reasons.append(f"no_cursor: offsets of {partitions} partitions do not fit into one")
        return AnswerHeader(
            exact=exact,
            reason=". ".join(reasons),
            tables=tuple(table.header for table in _tables(opened, gaps)),
            freshness_ms=max(one.table.freshness_ms for one in opened),
            gaps=gaps.gaps,
            level=self._level().name,
            clock=clock,
            engine=engine,
            estimate=Estimate(rows, read_bytes, files, engine, cost),
            cursor=cursor,
            query_id=call.query_id,
        )


def _tables(opened: Sequence[Opened], gaps: NamedGaps) -> list[OpenTable]:
    return [*(one.table for one in opened), *([gaps.ledger] if gaps.ledger is not None else [])]
