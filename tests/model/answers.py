"""Questions to the gateway while writers, tail and table go through everything: the read side's state machine.

Every answer is held against the reference: the rows that its own header claims, by (stream,
partition, offset), are exactly the rows of the log below its E that the question means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import polars as pl
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from model.machine import SELDOM, SYMBOLS, WriterMachine
from model.reference import Reference, Row, Sent
from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.cursor import CursorCodec
from seamark.query_gateway.errors import Gone, QueryError, Unavailable
from seamark.query_gateway.gateway import Gateway
from seamark.query_gateway.header import AnswerHeader
from seamark.query_gateway.log_fill import LogBudget
from seamark.query_gateway.opening import Limits, Opening
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import (
    AsKnownAt,
    AtCursor,
    Consistency,
    Engine,
    Latest,
    Question,
)
from seamark.query_gateway.reading import TableOpener
from seamark.query_gateway.running import Call
from seamark.stream.log import TopicPartition
from twins.gateway_sources import MemoryHistory, MemoryLogSource, MemoryTail
from twins.lake import Answer

T = TypeVar("T")
COLUMNS = (
    "stream_id",
    "kafka_partition",
    "kafka_offset",
    "symbol",
    "source_sequence",
    "id_epoch",
    "kafka_timestamp",
)
SHAPES = st.fixed_dictionaries(
    {
        "symbols": st.sampled_from([(), ("AAA",), ("BBB", "CCC"), ("ZZZ",)]),
        "from_back": st.none() | st.integers(0, 40_000),
        "to_back": st.none() | st.integers(-10_000, 20_000),
        "descending": st.booleans(),
        "page": st.sampled_from([0, 0, 0, 1, 2, 3, 7]),
    }
)
CHECKED: Counter[str] = Counter()
"""Answers judged, by what they fell into: across all runs of this process."""


class AnswerMachine(WriterMachine):
    """The writer's machine, with a tail, a gateway, and people who ask."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = MemoryTail(self.kind, self.topic, self.log, self.table, self.states)
        self.source = MemoryLogSource(self.log, self.table, self.states)
        self.given: list[tuple[Question, AnswerHeader, list[Row]]] = []
        self.loop = asyncio.new_event_loop()

    @initialize()
    def begin(self) -> None:
        super().begin()
        # The gateway's other table has nothing to say here.
        self.pins = PinCache({self.kind: self.table}, self.states)
        opener = TableOpener(self.pins, self.tail, self.source, LogBudget(rows=30), lambda: self.now_us)
        codec = CursorCodec(b"0123456789abcdef")
        self.history = MemoryHistory({self.kind: self.table})
        histories = {Engine.DIRECT: self.history}
        opening = Opening(self.pins, opener, histories, codec, Limits(), lambda: self.now_us + 60_000_000)
        self.gateway = Gateway(opening, opener)
        self.await_(self.pins.refresh(self.kind))
        self.tail.restart()

    def await_(self, job: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(job)

    # What happens to tail and gateway

    @rule()
    def poll(self) -> None:
        """The gateway's next look at the catalog."""
        with suppress(Unavailable):
            self.await_(self.pins.refresh(self.kind))

    @rule(most=st.integers(1, 8))
    def tail_reads(self, most: int) -> None:
        self.tail.catch_up(most)

    @rule(partition=st.integers(0, 3))
    def tail_reads_one_partition(self, partition: int) -> None:
        self.tail.catch_up(3, (partition,))

    @rule()
    def tail_evicts(self) -> None:
        self.tail.evict()

    @rule(seldom=SELDOM)
    def tail_restarts(self, seldom: bool) -> None:
        if seldom:
            with suppress(Exception):
                self.tail.restart()

    @rule(seldom=SELDOM)
    def tail_goes(self, seldom: bool) -> None:
        self.tail.down = seldom

    @rule(seldom=SELDOM)
    def log_goes(self, seldom: bool) -> None:
        self.source.down = seldom

    # What makes a tail begin anew: its consumer or its counters tell it

    def _kill_tail(self) -> None:
        with suppress(Exception):
            self.tail.restart()

    @rule(partition=st.integers(0, 3), back=st.integers(1, 4), seldom=SELDOM)
    @precondition(lambda self: self.truncated is None and len(self.content) < 12)
    def truncate(self, partition: int, back: int, seldom: bool) -> None:
        ends = self.log.bounds(TopicPartition(self.topic, partition)).end
        super().truncate(partition, back, seldom)
        if seldom and ends:
            self.given.clear()  # their offsets are other records now
            self._kill_tail()

    def _adopt(self, succeeds: int | None, lost: bool) -> None:
        super()._adopt(succeeds, lost)
        if hasattr(self, "pins"):
            self._kill_tail()

    @rule(back=st.integers(1, 3), seldom=SELDOM)
    @precondition(lambda self: len(self.table.snapshots) > 3 and self.truncated is None)
    def roll_back(self, back: int, seldom: bool) -> None:
        super().roll_back(back, seldom)
        self._kill_tail()

    # Questions

    def _question(self, shape: dict[str, Any], consistency: Consistency) -> Question:
        from_us = None if shape["from_back"] is None else self.now_us - shape["from_back"]
        to_us = None if shape["to_back"] is None else self.now_us - shape["to_back"]
        if from_us is not None and to_us is not None and from_us >= to_us:
            to_us = None
        return Question(
            self.kind,
            Predicate(shape["symbols"], from_us=from_us, to_us=to_us),
            COLUMNS,
            descending=shape["descending"],
            consistency=consistency,
        )

    @rule(
        shapes=st.lists(SHAPES, min_size=10, max_size=30),
        symbol=st.sampled_from(SYMBOLS),
        fresh=st.booleans(),
    )
    def ask(self, shapes: list[dict[str, Any]], symbol: str, fresh: bool) -> None:
        """What there is now, in several forms."""
        if fresh:
            self.trade_on(symbol, 2, False)
            self.tail.catch_up(20)
        for shape in shapes:
            question = self._question(shape, Latest())
            header, rows = self._ask(question, shape["page"])
            if header is not None:
                self._judge(question, header, rows)
                self.given.append((question, header, rows))

    @rule(
        shapes=st.lists(SHAPES, min_size=8, max_size=16),
        event=st.sampled_from(["commit", "restart", "compaction", "eviction"]),
        reading=st.booleans(),
        symbol=st.sampled_from(SYMBOLS),
    )
    def ask_meanwhile(self, shapes: list[dict[str, Any]], event: str, reading: bool, symbol: str) -> None:
        """Something happens within the answer: behind the tail's part of it, or between two reads of history."""
        for shape in shapes:
            self.trade_on(symbol, 3, False)
            self.tail.catch_up(20)
            happened: list[str] = []

            def happen(happened: list[str] = happened) -> None:
                if not happened:
                    happened.append(event)
                    self._happen(event)

            place = self.history if reading else self.tail
            place.meanwhile = happen
            question = self._question(shape, Latest())
            header, rows = self._ask(question, shape["page"])
            place.meanwhile = lambda: None
            if header is not None:
                self._judge(question, header, rows)
                if happened:
                    CHECKED[f"into a {event}"] += 1

    def _happen(self, event: str) -> None:
        if event == "commit":
            self._steps_of_a_commit()
        elif event == "restart":
            self._kill_tail()
        elif event == "compaction":
            # Again and again, until the pinned snapshot has expired.
            self.table.compact()
            self._steps_of_a_commit()
            self.table.compact()
        else:
            self._steps_of_a_commit()
            self.tail.evict()

    def _steps_of_a_commit(self) -> None:
        if self.actors:
            self.commit(0, 8, Answer.OK)

    @rule(shape=SHAPES)
    def ask_and_commit_between_pages(self, shape: dict[str, Any]) -> None:
        """Pages of one answer, with everything moving in between."""
        question = self._question(shape, Latest())
        header, rows = self._ask(question, 2, self._commit_and_evict)
        if header is not None:
            CHECKED["a commit between pages"] += 1
            self._judge(question, header, rows)

    def _commit_and_evict(self) -> None:
        if self.actors:
            self.commit(0, 4, Answer.OK)
        self.tail.evict()
        self.table.compact()
        self.poll()

    @rule(pick=st.integers(0, 30), page=st.sampled_from([0, 2, 5]))
    @precondition(lambda self: self.given)
    def ask_again(self, pick: int, page: int) -> None:
        """The same cursor, later: the same rows."""
        question, before, rows = self.given[pick % len(self.given)]
        if not before.exact:
            return
        again = Question(
            question.kind,
            question.predicate,
            question.columns,
            descending=question.descending,
            consistency=AtCursor(before.cursor),
        )
        try:
            header, found = self._ask(again, page)
        except Gone as error:
            assert "shed_since" in str(error)
            return
        if header is None:
            return
        if header.exact:
            CHECKED["same cursor, later"] += 1
            assert found == rows, "the same cursor gave other rows"

    @rule(back=st.integers(0, 30_000))
    def ask_what_was_known(self, back: int) -> None:
        instant_us = self.now_us - back
        question = Question(self.kind, Predicate(), COLUMNS, consistency=AsKnownAt(instant_us))
        header, rows = self._ask(question, 0)
        if header is None or not header.exact or self.truncated is not None:
            return
        CHECKED["as known at"] += 1
        expected = [row for row in self._expected(None) if row.append_us <= instant_us]
        assert sorted(rows) == sorted(expected), "rows are not those appended until then"

    def _ask(
        self, question: Question, page: int, between: Any = None
    ) -> tuple[AnswerHeader | None, list[Row]]:
        """(header, rows) of the whole answer, page by page; no header where nothing could be said."""
        header: AnswerHeader | None = None
        rows: list[Row] = []
        cursor = ""
        while True:
            asked = Question(
                question.kind,
                question.predicate,
                question.columns,
                page,
                question.descending,
                question.consistency,
                cursor,
            )
            try:
                one_header, batch, cursor = self.await_(self._collect(asked))
            except Unavailable:
                return None, []
            except Gone:
                if cursor or isinstance(question.consistency, AtCursor):
                    raise
                return None, []
            except QueryError as error:
                raise AssertionError(f"a good question was refused: {error}") from error
            if header is not None and (one_header.tables[0].end != header.tables[0].end):
                raise AssertionError("E moved between pages")
            if header is None or not one_header.exact:
                header = one_header
            rows += batch
            if not cursor:
                return header, rows
            if between is not None:
                between()

    async def _collect(self, question: Question) -> tuple[AnswerHeader, list[Row], str]:
        call = Call("q", "model", "c")
        call.deadline_seconds += 0.0
        answer = await self.gateway.query(question, call)
        rows: list[Row] = []
        async for batch in answer.batches:
            columns = pl.DataFrame(batch).with_columns(pl.col("kafka_timestamp").to_physical())
            rows += [Row._make(row) for row in columns.select(COLUMNS).iter_rows()]
        return answer.header, rows, answer.next_cursor

    # The judgement

    def _expected(self, end: dict[StreamPartition, int] | None) -> list[Row]:
        """Rows of the log below `end`, by the reference; of partitions not named, none. None: all there is."""
        streams = self.table.load().streams
        reference = Reference(self.kind is RecordKind.QUOTES)
        rows: list[Row] = []
        points = self.table.load().checkpoints
        successors = {stream.succeeds for stream in streams.values()}
        for stream_id, stream in sorted(streams.items()):
            for partition in range(stream.partitions):
                records = self._content(stream_id, stream.topic_id, partition)
                first = stream.start[partition]
                # The fold of a stream that has ended ends at its last H, and the next one's begins with it.
                last = (
                    points[StreamPartition(stream_id, partition)].next
                    if stream_id in successors
                    else len(records)
                )
                found, _ = reference.rows(stream_id, partition, enumerate(records[first:last], first))
                limit = last if end is None else end.get(StreamPartition(stream_id, partition), 0)
                rows += [row for row in found if row.offset < limit]
        return rows

    def _content(self, stream_id: int, topic_id: str, partition: int) -> list[Sent]:
        ended = self.content.get((stream_id, partition))
        return ended if ended is not None else self.sent.get((topic_id, partition), [])

    def _times(self) -> dict[tuple[int, int, int], int]:
        times = {}
        for stream_id, stream in self.table.load().streams.items():
            for partition in range(stream.partitions):
                for offset, record in enumerate(self._content(stream_id, stream.topic_id, partition)):
                    times[stream_id, partition, offset] = record.time_us
        return times

    def _judge(self, question: Question, header: AnswerHeader, rows: list[Row]) -> None:
        table = header.tables[0]
        if self.truncated is not None:
            return  # the log and the table are at odds until an operator says how to go on
        times = self._times()
        predicate = question.predicate

        def meant(row: Row) -> bool:
            time_us = times[row.stream, row.partition, row.offset]
            return (
                (not predicate.symbols or row.symbol in predicate.symbols)
                and (predicate.from_us is None or time_us >= predicate.from_us)
                and (predicate.to_us is None or time_us < predicate.to_us)
            )

        expected = [row for row in self._expected(dict(table.end)) if meant(row)]
        for gone in table.missing:
            inside = lambda row, gone=gone: (  # noqa: E731
                StreamPartition(row.stream, row.partition) == gone.where
                and row.offset >= gone.first
                and (gone.next is None or row.offset < gone.next)
            )
            assert not any(map(inside, rows)), "a row of a range that is named as missing"
            expected = [row for row in expected if not inside(row)]
        assert sorted(rows) == sorted(expected), "rows are not those of the log below E"
        order = [
            (
                times[row.stream, row.partition, row.offset],
                row.symbol,
                row.epoch,
                row.number,
                row.stream,
                row.partition,
                row.offset,
            )
            for row in rows
        ]
        assert order == sorted(order, reverse=question.descending), "rows are not in the total order"
        if header.exact:
            assert not table.missing
            assert not self._foreign(table.snapshot_id), "a table that somebody else changed, and exact"
        self._count(header)

    def _foreign(self, snapshot_id: int | None) -> bool:
        """Whether somebody else than a writer changed the rows that a snapshot holds."""
        at = self.table.snapshots.get(snapshot_id) if snapshot_id is not None else None
        while at is not None and at.view.checkpoint_text is None:
            if at.view.operation != "replace":
                return True
            at = self.table.snapshots.get(at.view.parent_id) if at.view.parent_id is not None else None
        return False

    def _count(self, header: AnswerHeader) -> None:
        table = header.tables[0]
        CHECKED["answers"] += 1
        crossing = any(offset > table.watermark.get(where, 0) > 0 for where, offset in table.end.items())
        CHECKED["across the seam"] += crossing
        CHECKED["partial"] += bool(table.missing)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


class QuoteAnswerMachine(AnswerMachine):
    kind = RecordKind.QUOTES


__all__ = ["CHECKED", "SYMBOLS", "AnswerMachine", "QuoteAnswerMachine"]
