"""Answers questions. What HTTP and gRPC call; each kind of question has its module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from seamark.lake.errors import CatalogUnavailable
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.answer import Answer, batches_of
from seamark.query_gateway.as_of import answer_as_of
from seamark.query_gateway.bars_answer import BarsAnswers
from seamark.query_gateway.consistency import gone_by_name, want_of_cursor
from seamark.query_gateway.errors import Gone, Invalid, Unavailable
from seamark.query_gateway.gaps import GapLedger
from seamark.query_gateway.header import Estimate, SnapshotInfo, Watermark
from seamark.query_gateway.instruments import answer_instruments
from seamark.query_gateway.merge import Position, position_of
from seamark.query_gateway.opening import NamedGaps, Opened, Opening
from seamark.query_gateway.ordered_rows import needed_columns
from seamark.query_gateway.pin import pin_snapshot
from seamark.query_gateway.question import AsOfQuestion, AtCursor, BarsQuestion, Consistency, Question
from seamark.query_gateway.reading import TableOpener
from seamark.query_gateway.running import Call
from seamark.query_gateway.symbols import KnownSymbols
from seamark.query_gateway.want import Want


class Gateway:
    """The answering core, without HTTP or gRPC. Methods raise QueryError."""

    def __init__(
        self,
        opening: Opening,
        opener: TableOpener,
        gaps: GapLedger | None = None,
        symbols: KnownSymbols | None = None,
    ) -> None:
        """`gaps`: None where nobody keeps a ledger of them; `symbols`: None where any may be asked for."""
        self._symbols = symbols
        self._opening = opening
        self._opener = opener
        self._gaps = gaps
        self._bars = BarsAnswers(opening, gaps)
        self.learn = self._bars.learn
        """Keeps states of bars before they are asked for; see `BarsAnswers.learn`."""

    async def query(self, question: Question, call: Call) -> Answer:
        """Rows in the total order; see `Question`."""
        table = question.kind.value
        position: Position | None = None
        if question.page_cursor:
            cursor = self._opening.codec.decode(question.page_cursor, "page_cursor")
            if cursor.position is None:
                raise Invalid(
                    "page_cursor", "page_cursor was of a whole answer, must be a page's next_cursor"
                )
            position, want = cursor.position, want_of_cursor(cursor, table, question.hash, "page_cursor")
        else:
            want = self._opening.want(question.consistency, table, question.hash)
        predicate = question.predicate
        if want.known_at_us is not None:
            predicate = replace(predicate, known_at_us=want.known_at_us)
        columns = question.columns or tuple(row_schema(question.kind).names)
        needed = needed_columns(question.kind, columns)

        async def begun(frames: AsyncIterator[pl.DataFrame]) -> _Begun:
            # E is fixed: gaps may be asked for while the first rows are read.
            asking = asyncio.create_task(self._open_gaps(question, predicate, call))
            try:
                return _Begun(await anext(frames, None), frames, await asking)
            finally:
                asking.cancel()

        with gone_by_name(question.consistency, question.page_cursor):
            opened, (first, frames, gaps) = await self._opening.read(
                question.kind,
                predicate,
                needed,
                want,
                call,
                begun,
                engine=question.engine,
                limit=question.limit,
                descending=question.descending,
                position=position,
            )
        header = self._opening.header((opened,), question.hash, question.predicate.clock, call, gaps)
        if first is None and position is None and question.kind.sequenced and not header.partial:
            await self._check_symbols(predicate.symbols, call)
        schema = _schema(question.kind, columns)
        answer = Answer(header, schema)
        answer.batches = self._batches(answer, question, opened, gaps, frames, first, call)
        return answer

    async def _open_gaps(self, question: Question, predicate: Predicate, call: Call) -> NamedGaps:
        if self._gaps is None or not question.kind.sequenced:
            return NamedGaps()
        consistency = AtCursor(question.page_cursor) if question.page_cursor else question.consistency
        return await self._gaps.over(consistency, predicate, call)

    async def _batches(
        self,
        answer: Answer,
        question: Question,
        opened: Opened,
        gaps: NamedGaps,
        frames: AsyncIterator[pl.DataFrame],
        first: pl.DataFrame | None,
        call: Call,
    ) -> AsyncIterator[pa.RecordBatch]:
        last: pl.DataFrame | None = None
        async with aclosing(frames):  # type: ignore[type-var]
            frame = first
            while frame is not None:
                cut = question.limit and answer.rows + len(frame) > question.limit
                if cut:
                    frame = frame.head(question.limit - answer.rows)
                if len(frame):
                    last = frame
                    answer.rows += len(frame)
                    call.rows = answer.rows
                    for batch in batches_of(frame, answer.schema):
                        yield batch
                if cut:
                    assert last is not None
                    answer.next_cursor = self._opening.cursor(
                        question.hash, (opened,), gaps, position_of(last, question.kind)
                    )
                    return
                frame = await anext(frames, None)

    async def estimate(self, question: Question) -> Estimate:
        """What answering would take, from the current pin."""
        columns = needed_columns(question.kind, question.columns or row_schema(question.kind).names)
        pin = self._opening.pins.current(question.kind)
        return await self._opening.estimate(pin, question.predicate, columns, question.engine)

    async def snapshots(self, kind: RecordKind) -> list[SnapshotInfo]:
        """The table's snapshots, newest first."""
        # The excluded ranges of each may be in a file.
        return await asyncio.to_thread(self._snapshots, kind)

    def _snapshots(self, kind: RecordKind) -> list[SnapshotInfo]:
        """Blocking. Raises Unavailable: a file of excluded ranges cannot be read."""
        pins = self._opening.pins
        view = pins.current(kind).view
        found = []
        for snapshot in sorted(view.snapshots.values(), key=lambda one: -one.timestamp_ms):
            try:
                watermark = pin_snapshot(kind.value, view, snapshot.snapshot_id, pins.ranges).watermark
                reason = ""
            except CatalogUnavailable as error:
                raise Unavailable(
                    f"snapshot {snapshot.snapshot_id} of table {kind.value}: {error}"
                ) from error
            except Gone as error:
                watermark, reason = {}, str(error)
            found.append(
                SnapshotInfo(
                    snapshot.snapshot_id,
                    snapshot.timestamp_ms,
                    snapshot.operation,
                    watermark,
                    not reason,
                    reason,
                )
            )
        return found

    async def _check_symbols(self, symbols: Sequence[str], call: Call) -> None:
        """Raises NotFound."""
        if self._symbols is not None:
            await self._symbols.check(symbols, call)

    async def bars(self, question: BarsQuestion, call: Call) -> Answer:
        """Bars of one symbol; see `bars.BARS_SCHEMA`."""
        await self._check_symbols((question.symbol,), call)
        with gone_by_name(question.consistency):
            return await self._bars.answer(question, call)

    async def as_of(self, question: AsOfQuestion, call: Call) -> Answer:
        """Trades with their quotes; see `as_of.AS_OF_SCHEMA`."""
        await self._check_symbols(question.symbols, call)
        with gone_by_name(question.consistency):
            return await answer_as_of(self._opening, question, call, self._gaps)

    async def instruments(self, symbols: tuple[str, ...], consistency: Consistency, call: Call) -> Answer:
        """Current state of each instrument; see `instruments`."""
        with gone_by_name(consistency):
            return await answer_instruments(self._opening, symbols, consistency, call)

    async def watermark(self, kind: RecordKind, call: Call) -> Watermark:
        """H, and the E that a question asked now would get."""
        nothing = Predicate(symbols=("",))  # no symbol is empty: offsets without rows
        opened = await self._opener.open(
            kind, nothing, needed_columns(kind, ()), Want(offsets_only=True), call
        )
        return Watermark(opened.header, opened.freshness_ms)


class _Begun(NamedTuple):
    """An answer whose rows have begun to come."""

    first: pl.DataFrame | None
    """None: there are none."""
    rest: AsyncIterator[pl.DataFrame]
    gaps: NamedGaps


def _schema(kind: RecordKind, columns: tuple[str, ...]) -> pa.Schema:
    schema = row_schema(kind)
    return pa.schema([schema.field(name) for name in columns])
