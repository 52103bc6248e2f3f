"""Questions to the gateway while writers, tail and table go through everything: the read side's state machine.

Every page of every answer is held against the reference: its rows are, in order, the rows of the
log below the E of its own header that the question means, without those it names as missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

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
from seamark.query_gateway.header import AnswerHeader, Missing
from seamark.query_gateway.log_fill import LogBudget
from seamark.query_gateway.opening import Limits, Opening
from seamark.query_gateway.pin import Pin
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
from seamark.query_gateway.seam import start_of
from seamark.query_gateway.sources import Coverage
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
        "symbols": st.sampled_from([(), (), ("AAA",), ("BBB", "CCC"), ("ZZZ",)]),
        "from_back": st.none() | st.integers(0, 60_000),
        "to_back": st.none() | st.integers(-10_000, 20_000),
        "descending": st.booleans(),
        "page": st.sampled_from([0, 0, 0, 1, 2, 3, 7]),
    }
)
CHECKED: Counter[str] = Counter()
"""Answers judged, by what they fell into: across all runs of this process."""


class Page(NamedTuple):
    """One page of an answer."""

    header: AnswerHeader
    rows: list[Row]
    limit: int
    more: bool
    """Whether it says that there is another."""
    opened: Opened


class Opened(NamedTuple):
    """How things were when a table had been opened."""

    now_us: int
    pin: Pin
    tail: Mapping[StreamPartition, Coverage]
    """What the tail gave."""


def _rows(pages: list[Page]) -> list[Row]:
    return [row for page in pages for row in page.rows]


def _inside(row: Row, gone: Missing) -> bool:
    return (
        StreamPartition(row.stream, row.partition) == gone.where
        and row.offset >= gone.first
        and (gone.next is None or row.offset < gone.next)
    )


class AnswerMachine(WriterMachine):
    """The writer's machine, with a tail, a gateway, and people who ask."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = MemoryTail(self.kind, self.topic, self.log, self.table, self.states)
        self.tail.now_us = lambda: self.now_us
        self.source = MemoryLogSource(self.log, self.table, self.states)
        self.given: list[tuple[Question, list[Page]]] = []
        self.loop = asyncio.new_event_loop()

    @initialize()
    def begin(self) -> None:
        super().begin()
        # The gateway's other table has nothing to say here.
        self.pins = PinCache({self.kind: self.table}, self.states)
        opener = TableOpener(self.pins, self.tail, self.source, LogBudget(rows=30), self._open_now)
        codec = CursorCodec(b"0123456789abcdef")
        self.history = MemoryHistory({self.kind: self.table})
        histories = {Engine.DIRECT: self.history}
        opening = Opening(self.pins, opener, histories, codec, Limits(), lambda: self.now_us + 60_000_000)
        self.gateway = Gateway(opening, opener)
        self.await_(self.pins.refresh(self.kind))
        self.tail.restart()

    def _open_now(self) -> int:
        self.opened = Opened(self.now_us, self.pins.current(self.kind), self.tail.answered)
        return self.now_us

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
    def tail_hears_of_the_ends(self) -> None:
        self.tail.hear()

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
        fresh=st.sampled_from([True, True, False]),
    )
    def ask(self, shapes: list[dict[str, Any]], fresh: bool) -> None:
        """What there is now, in several forms."""
        if fresh:
            self._both_sides()
        for shape in shapes:
            question = self._question(shape, Latest())
            pages = self._ask(question, shape["page"])
            self._judge(question, pages)
            if self.truncated is None and pages and all(page.header.exact for page in pages):
                self.given.append((question, pages))

    @rule(
        shapes=st.lists(SHAPES, min_size=8, max_size=16),
        event=st.sampled_from(["commit", "restart", "compaction", "eviction"]),
        moment=st.sampled_from(["before", "behind", "history"]),
    )
    def ask_meanwhile(self, shapes: list[dict[str, Any]], event: str, moment: str) -> None:
        """Something happens within the answer: before or behind the tail's part of it, or as history is read."""
        for shape in shapes:
            self._both_sides()
            happened: list[str] = []

            def happen(happened: list[str] = happened) -> None:
                if not happened:
                    happened.append(event)
                    self._happen(event)

            places = {
                "before": (self.tail, "before_read"),
                "behind": (self.tail, "meanwhile"),
                "history": (self.history, "meanwhile"),
            }
            place, hook = places[moment]
            setattr(place, hook, happen)
            question = self._question(shape, Latest())
            pages = self._ask(question, shape["page"])
            setattr(place, hook, lambda: None)
            self._judge(question, pages)
            if pages and happened:
                CHECKED[f"into a {event}"] += 1

    def _both_sides(self) -> None:
        """Of every symbol a row that the pin has, and one that only the tail has."""
        for partly in (True, False):
            for symbol in SYMBOLS:
                self.trade_on(symbol, 1, False)
            if partly:
                self._steps_of_a_commit()
                self.poll()
        self.tail.catch_up(20)

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
            # Of one partition alone, and new rows come: the tail has some that the next pin has, too.
            self._steps_of_a_commit()
            self.tail.evict((self._routing().partition_of(SYMBOLS[0]),))
            for symbol in SYMBOLS:
                self.trade_on(symbol, 1, False)
            self.tail.catch_up(20)

    def _steps_of_a_commit(self) -> None:
        if self.actors:
            self.commit(0, 8, Answer.OK)

    @rule(shape=SHAPES)
    def ask_and_commit_between_pages(self, shape: dict[str, Any]) -> None:
        """Pages of one answer, with everything moving in between."""
        question = self._question(shape, Latest())
        pages = self._ask(question, 2, self._commit_and_evict)
        self._judge(question, pages)
        CHECKED["a commit between pages"] += len(pages) > 1

    def _commit_and_evict(self) -> None:
        """Also of rows that came after E."""
        for symbol in SYMBOLS:
            self.trade_on(symbol, 1, False)
        if self.actors:
            self.commit(0, 4, Answer.OK)
        self.tail.evict()
        self.table.compact()
        self.poll()

    @rule(pick=st.integers(0, 30), page=st.sampled_from([0, 2, 5]), moved=st.booleans())
    @precondition(lambda self: self.given)
    def ask_again(self, pick: int, page: int, moved: bool) -> None:
        """The same cursor, later: the same rows."""
        if moved:
            self._both_sides()
        question, before = self.given[pick % len(self.given)]
        try:
            found = self._ask(replace(question, consistency=AtCursor(before[0].header.cursor)), page)
        except Gone as error:
            assert "shed_since" in str(error)
            return
        if found and all(one.header.exact for one in found):
            CHECKED["same cursor, later"] += 1
            assert _rows(found) == _rows(before), "the same cursor gave other rows"

    @rule(back=st.integers(0, 30_000))
    def ask_what_was_known(self, back: int) -> None:
        instant_us = self.now_us - back
        question = Question(self.kind, Predicate(), COLUMNS, consistency=AsKnownAt(instant_us))
        pages = self._ask(question, 0)
        if not pages or not pages[0].header.exact or self.truncated is not None:
            return
        CHECKED["as known at"] += 1
        expected = [row for row in self._expected(None) if row.append_us <= instant_us]
        assert sorted(_rows(pages)) == sorted(expected), "rows are not those appended until then"

    def _ask(self, question: Question, page: int, between: Callable[[], None] = lambda: None) -> list[Page]:
        """The whole answer, page by page; none where nothing could be said.

        `page`: rows of the first page, each next one has twice as many; 0: all at once.
        """
        pages: list[Page] = []
        cursor = ""
        while cursor or not pages:
            asked = replace(question, limit=page, page_cursor=cursor)
            try:
                header, rows, cursor = self.await_(self._collect(asked))
            except Unavailable:
                return []
            except Gone:
                if cursor or isinstance(question.consistency, AtCursor):
                    raise
                return []
            except QueryError as error:
                raise AssertionError(f"a good question was refused: {error}") from error
            pages.append(Page(header, rows, page, bool(cursor), self.opened))
            assert header.tables[0].end == pages[0].header.tables[0].end, "E moved between pages"
            page *= 2
            if cursor:
                between()
        return pages

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

    def _judge(self, question: Question, pages: list[Page]) -> None:
        """Each page is what is meant, without what it names as missing, behind the page before."""
        if self.truncated is not None or not pages:
            return  # the log and the table are at odds until an operator says how to go on
        times = self._times()
        predicate = question.predicate

        def place(row: Row) -> tuple[Any, ...]:
            time_us = times[row.stream, row.partition, row.offset]
            return (time_us, row.symbol, row.epoch, row.number, row.stream, row.partition, row.offset)

        def meant(row: Row) -> bool:
            time_us = times[row.stream, row.partition, row.offset]
            return (
                (not predicate.symbols or row.symbol in predicate.symbols)
                and (predicate.from_us is None or time_us >= predicate.from_us)
                and (predicate.to_us is None or time_us < predicate.to_us)
            )

        end = dict(pages[0].header.tables[0].end)
        left = sorted(filter(meant, self._expected(end)), key=place, reverse=question.descending)
        for header, rows, limit, more, opened in pages:
            table = header.tables[0]
            expected = [row for row in left if not any(_inside(row, gone) for gone in table.missing)]
            assert rows == (expected[:limit] if limit else expected), "rows are not those of the log below E"
            assert more == (limit > 0 and len(expected) > limit), "a next page, and nothing on it"
            if header.exact:
                assert not table.missing
                assert not self._foreign(table.snapshot_id), "a table that somebody else changed, and exact"
            if opened.pin.snapshot_id == table.snapshot_id:
                self._judge_freshness(header, opened)
                self._judge_committed_age(header, opened)
            if rows:
                last = place(rows[-1])
                left = [
                    row for row in left if (place(row) < last if question.descending else place(row) > last)
                ]
        self._count(pages)

    def _records_of(self, pin: Pin, where: StreamPartition) -> list[Sent]:
        return self._content(where.stream_id, pin.streams[where.stream_id].topic_id, where.partition)

    def _judge_freshness(self, header: AnswerHeader, opened: Opened) -> None:
        """No record at or beyond E was appended before the time that the answer claims to have seen."""
        for where in opened.pin.open_partitions:
            for record in self._records_of(opened.pin, where)[header.tables[0].end.get(where, 0) :]:
                # The broker's clock stepped back for some: when were they really appended?
                appended_us = record.append_us + (5_000 if record.number % 5 == 0 else 0)
                age_ms = (opened.now_us - appended_us) / 1_000
                assert age_ms < header.freshness_ms + 1, f"{where}: fresher than a record that is not in it"

    def _judge_committed_age(self, header: AnswerHeader, opened: Opened) -> None:
        """It is the age of the first record behind H; where only Kafka gave it, at most that of the last below H."""
        table, pin = header.tables[0], opened.pin
        least, most = [], []
        for where in pin.open_partitions:
            first, end = start_of(pin, where), table.end.get(where, 0)
            if end <= first:
                continue
            below_us = pin.append_us.get(where, 0)
            times_us = [record.append_us for record in self._records_of(pin, where)[first:end]]
            part = opened.tail.get(where)
            if part is not None and part.first == first < part.hi and end <= part.next:
                least.append(max(below_us, times_us[0]))
                most.append(least[-1])
                CHECKED["committed age"] += 1
            else:
                least.append(below_us)
                most.append(max(below_us, *times_us, 0))
        if not least:
            assert table.committed_age_ms == 0
            return
        oldest, newest = (max(0, opened.now_us - min(times)) // 1_000 for times in (least, most))
        assert newest <= table.committed_age_ms <= oldest, "not the age of what waits for its commit"

    def _foreign(self, snapshot_id: int | None) -> bool:
        """Whether somebody else than a writer changed the rows of a snapshot since the last adoption of a head."""
        while snapshot_id is not None and snapshot_id not in self.adopted:
            if snapshot_id in self.table.others:
                return True
            snapshot_id = self.table.parents[snapshot_id]
        return False

    def _count(self, pages: list[Page]) -> None:
        table = pages[0].header.tables[0]
        CHECKED["answers"] += 1
        sides = {
            row.offset < table.watermark.get(StreamPartition(row.stream, row.partition), 0)
            for page in pages
            for row in page.rows
        }
        CHECKED["across the seam"] += len(sides) == 2
        CHECKED["behind a foreign change"] += self._foreign(table.snapshot_id)
        CHECKED["partial"] += any(page.header.tables[0].missing for page in pages)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


class QuoteAnswerMachine(AnswerMachine):
    kind = RecordKind.QUOTES


__all__ = ["CHECKED", "SYMBOLS", "AnswerMachine", "QuoteAnswerMachine"]
