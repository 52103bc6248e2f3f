"""The answering core in memory, for tests of its edges: true headers, rows of frames that are given to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import sort_frame, total_order
from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.answer import Answer, whole_answer
from seamark.query_gateway.as_of import AS_OF_SCHEMA
from seamark.query_gateway.bars import BARS_SCHEMA, COLUMNS, finished, partial
from seamark.query_gateway.cursor import Cursor, CursorCodec, TableCursor
from seamark.query_gateway.errors import Gone, Invalid, NotFound, QueryError, Stale
from seamark.query_gateway.header import (
    AnswerHeader,
    Estimate,
    Missing,
    SnapshotInfo,
    TableHeader,
    Watermark,
)
from seamark.query_gateway.question import (
    INTERVALS_US,
    AsKnownAt,
    AsOfQuestion,
    AtCursor,
    AtSnapshot,
    BarsQuestion,
    Consistency,
    Engine,
    MaxStaleness,
    MinOffsets,
    Question,
    hash_of,
)
from seamark.query_gateway.running import Call

SNAPSHOT = 4711
WHERE = StreamPartition(1, 0)


@dataclass(slots=True)
class MemoryGateway:
    """Answers from frames, one partition a table: H is 0, so that all rows are the log's, and E the last row's
    offset + 1. Tests tell it to fail, to lack rows, to be slow."""

    frames: dict[RecordKind, pl.DataFrame] = field(default_factory=dict)
    symbols: frozenset[str] | None = None
    """Those that there are; None: any."""
    batch_rows: int = 1_000
    missing: tuple[Missing, ...] = ()
    exact_anyway: bool = False
    """Claims to be exact whatever is missing: a defect that edges must not pass on."""
    error: QueryError | Exception | None = None
    """Raised instead of an answer."""
    error_after_rows: int | None = None
    """Raised while rows are given, instead of the row behind these."""
    stop_at_batch: int | None = None
    """Rows end to come with this batch, counted from 0: its turn lasts until somebody gives up."""
    open_gate: asyncio.Event | None = None
    """Waited for before the header."""
    estimate_is: Estimate = Estimate(10, 1_000, 1, Engine.DIRECT, 1)
    codec: CursorCodec = field(default_factory=lambda: CursorCodec(b"k" * 32))
    calls: list[Call] = field(default_factory=list)
    given_batches: int = 0
    closed: int = 0
    """Answers whose rows were exhausted or given up."""

    def _frame(self, kind: RecordKind) -> pl.DataFrame:
        found = self.frames.get(kind)
        return pl.DataFrame(row_schema(kind).empty_table()) if found is None else found

    async def _opened(self, call: Call) -> None:
        self.calls.append(call)
        if self.open_gate is not None:
            await self.open_gate.wait()
        if self.error is not None and self.error_after_rows is None:
            raise self.error

    def _known(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            if self.symbols is not None and symbol not in self.symbols:
                raise NotFound(
                    f"symbol was {symbol!r}, must be one of {', '.join(sorted(self.symbols))}", "symbols"
                )

    def _end(self, kind: RecordKind) -> dict[StreamPartition, int]:
        return {WHERE: max(self._frame(kind)["kafka_offset"].to_list(), default=-1) + 1}

    def _table(self, kind: RecordKind) -> TableHeader:
        return TableHeader(
            kind.value, SNAPSHOT, 12, 0, {WHERE: 0}, self._end(kind), {WHERE: 0}, (), self.missing, 250
        )

    def _header(
        self, kind: RecordKind, named: str, clock: Clock, consistency: Consistency, call: Call
    ) -> AnswerHeader:
        end = self._end(kind)
        match consistency:
            case MinOffsets(offsets) if any(end.get(where, 0) < offset for where, offset in offsets.items()):
                raise Stale("min_offsets were not reached", "min_offsets")
            case MaxStaleness(0):
                raise Stale("freshness was 8 ms, must be at most 0", "max_staleness_ms")
            case AtSnapshot(snapshot) if snapshot != SNAPSHOT:
                raise Gone(f"snapshot {snapshot} has expired", "snapshot")
            case AsKnownAt(instant) if instant < 0:
                raise Invalid("as_known_at", f"as_known_at was {instant}, must be 0 or more")
            case AtCursor(text):
                end = dict(self._decoded(text, "at", kind, named).tables[kind.value].end)
        cursor = self.codec.encode(Cursor(named, {kind.value: TableCursor(SNAPSHOT, end, 0)}))
        reason = "offsets are missing" if self.missing else ""
        return AnswerHeader(
            not reason or self.exact_anyway,
            reason,
            (replace(self._table(kind), end=end),),
            8,
            (),
            "NORMAL",
            clock,
            Engine.DIRECT,
            self.estimate_is,
            cursor,
            call.query_id,
        )

    def _decoded(self, text: str, name: str, kind: RecordKind, named: str) -> Cursor:
        cursor = self.codec.decode(text, name)
        if cursor.question != named or kind.value not in cursor.tables:
            raise Invalid(name, f"{name} was of another question")
        return cursor

    async def query(self, question: Question, call: Call) -> Answer:
        await self._opened(call)
        kind = question.kind
        self._known(question.predicate.symbols)
        first = 0
        if question.page_cursor:
            cursor = self._decoded(question.page_cursor, "page_cursor", kind, question.hash)
            if cursor.position is None:
                raise Invalid("page_cursor", "page_cursor was of a whole answer")
            first = int(cursor.position[0] or 0)
        header = self._header(kind, question.hash, question.predicate.clock, question.consistency, call)
        frame = sort_frame(self._matching(kind, question.predicate), total_order(kind))
        frame = frame.filter(pl.col("kafka_offset") < header.tables[0].end[WHERE])
        if question.descending:
            frame = frame.reverse()
        rows = frame.slice(first)
        last = question.limit and len(rows) > question.limit
        if question.limit:
            rows = rows.head(question.limit)
        schema = row_schema(kind)
        if question.columns:
            schema = pa.schema([schema.field(name) for name in question.columns])
        answer = Answer(header, schema)
        answer.batches = self._batches(answer, rows.select(schema.names), call)
        if last:
            position = (first + question.limit,)
            tables = {kind.value: TableCursor(SNAPSHOT, dict(header.tables[0].end), 0)}
            self._next = self.codec.encode(Cursor(question.hash, tables, position))
        else:
            self._next = ""
        return answer

    _next: str = ""

    def _matching(self, kind: RecordKind, predicate: Predicate) -> pl.DataFrame:
        expression = predicate.expression()
        frame = self._frame(kind)
        return frame if expression is None else frame.filter(expression)

    async def _batches(self, answer: Answer, rows: pl.DataFrame, call: Call) -> AsyncIterator[pa.RecordBatch]:
        following = self._next
        try:
            for first in range(0, len(rows), self.batch_rows):
                if self.given_batches == self.stop_at_batch:
                    await asyncio.Event().wait()
                part = rows.slice(first, self.batch_rows)
                if self.error_after_rows is not None and answer.rows + len(part) > self.error_after_rows:
                    assert self.error is not None
                    raise self.error
                answer.rows += len(part)
                call.rows = answer.rows
                for batch in part.to_arrow().cast(answer.schema).combine_chunks().to_batches():
                    self.given_batches += 1
                    yield batch
            answer.next_cursor = following
        finally:
            self.closed += 1

    async def bars(self, question: BarsQuestion, call: Call) -> Answer:
        await self._opened(call)
        self._known((question.symbol,))
        kind = RecordKind.TRADES
        named = hash_of("bars", question.symbol, question.from_us, question.to_us, question.interval)
        header = self._header(kind, named, Clock.EVENT, question.consistency, call)
        rows = self._matching(
            kind, Predicate((question.symbol,), Clock.EVENT, question.from_us, question.to_us)
        )
        rows = sort_frame(rows, total_order(kind)).select(COLUMNS)
        if rows.is_empty():
            return whole_answer(header, BARS_SCHEMA, None)
        state = partial(rows, INTERVALS_US[question.interval])
        bars = finished(state, ["provisional"] * len(state), [None] * len(state))
        return whole_answer(header, bars.schema, bars)

    async def as_of(self, question: AsOfQuestion, call: Call) -> Answer:
        """The quote is always the same: what edges do with a join does not depend on it."""
        await self._opened(call)
        self._known(question.symbols)
        named = hash_of("as_of", question.symbols, question.from_us, question.to_us)
        header = self._header(RecordKind.TRADES, named, question.clock, question.consistency, call)
        predicate = Predicate(question.symbols, question.clock, question.from_us, question.to_us)
        rows = sort_frame(self._matching(RecordKind.TRADES, predicate), total_order(RecordKind.TRADES))
        rows = rows.head(question.limit) if question.limit else rows
        quote = {
            name: pl.lit(Decimal("1.5"), pl.Decimal(28, 10))
            for name in ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
        }
        joined = rows.with_columns(
            **quote, quote_sequence=pl.lit(1, pl.Int64), quote_time=pl.col("timestamp")
        )
        return whole_answer(header, AS_OF_SCHEMA, joined)

    async def instruments(self, symbols: tuple[str, ...], consistency: Consistency, call: Call) -> Answer:
        await self._opened(call)
        self._known(symbols)
        kind = RecordKind.REFERENCE_DATA
        header = self._header(kind, hash_of("instruments", symbols), Clock.EVENT, consistency, call)
        return whole_answer(header, row_schema(kind), self._matching(kind, Predicate(symbols)))

    async def estimate(self, question: Question) -> Estimate:
        return self.estimate_is

    async def snapshots(self, kind: RecordKind) -> list[SnapshotInfo]:
        return [
            SnapshotInfo(SNAPSHOT, 1_723_118_400_123, "append", {WHERE: 0}, True, ""),
            SnapshotInfo(4710, 1_723_118_340_000, "overwrite", {}, False, "written by somebody else"),
        ]

    async def watermark(self, kind: RecordKind, call: Call) -> Watermark:
        await self._opened(call)
        return Watermark(self._table(kind), 8)
