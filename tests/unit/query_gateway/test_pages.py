"""Pages of one answer are one answer, and its cursor gives it again, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.query_gateway.cursor import CursorCodec
from seamark.query_gateway.errors import Gone, Invalid
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import AsKnownAt, AtCursor, AtSnapshot, Question
from seamark.query_gateway.running import Call
from unit.query_gateway.tables import NOW_US, Tables

TRADES, EVENTS = RecordKind.TRADES, RecordKind.FEED_EVENTS
SECOND = 1_000_000
COLUMNS = ("source_sequence", "stream_id", "kafka_partition", "kafka_offset")


class Trades:
    """Trades number 0, 1, 2, ... of several symbols, one a second."""

    def __init__(self):
        self.tables = Tables()

    def add(self, count):
        for _ in range(count):
            number = len(self.tables.appended[TRADES])
            self.tables.now_us += SECOND
            self.tables.append(
                TRADES,
                symbol := "ABCD"[number % 4],
                symbol=symbol,
                source_sequence=number,
                timestamp=NOW_US + number * 7 % 5,
            )

    def commit(self):
        self.tables.commit(TRADES)

    def expire(self):
        """All but the head."""
        lake = self.tables.lakes[TRADES]
        lake.expire(*[number for number in lake.table.snapshots if number != lake.head])

    def grow(self):
        """Another partition count: another stream."""
        lake = self.tables.lakes[TRADES]
        self.commit()
        lake.log.grow(lake.topic)
        lake.adopt(succeeds=max(lake.view.streams))

    def page(self, question):
        """(header, numbers, cursor of the next page)."""

        async def ask():
            answer = await self.tables.gateway.query(question, Call("q", "test", "c"))
            numbers = [
                number async for batch in answer.batches for number in batch["source_sequence"].to_pylist()
            ]
            return answer.header, numbers, answer.next_cursor

        return self.tables.run(ask())

    def pages(self, question, between=lambda: None):
        header, numbers, cursor = self.page(question)
        while cursor:
            between()
            _, more, cursor = self.page(replace(question, page_cursor=cursor))
            numbers += more
        return header, numbers

    def in_order(self, upto, descending=False):
        order = sorted(range(upto), key=lambda number: (number * 7 % 5, "ABCD"[number % 4], number))
        return order[::-1] if descending else order


@pytest.fixture
def trades():
    made = Trades()
    made.add(12)
    made.commit()
    made.tables.pin()
    made.add(8)
    yield made
    made.tables.runner.close()


def question(limit=0, **more):
    return Question(TRADES, columns=COLUMNS, limit=limit, **more)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 9),
    st.booleans(),
    st.lists(st.sampled_from(["add", "commit", "pin", "expire", "grow", "compact", "retire"]), max_size=12),
)
def test_pages_are_the_answer_of_the_first_whatever_happens_between(limit, descending, happenings):
    trades = Trades()
    tables = trades.tables
    acts = {
        "add": lambda: trades.add(3),
        "commit": trades.commit,
        "pin": tables.pin,
        "expire": trades.expire,
        "grow": trades.grow,
        "compact": tables.lakes[TRADES].table.compact,
        # What is committed may go from the log.
        "retire": lambda: (trades.commit(), tables.pin(), tables.retire(TRADES)),
    }
    try:
        trades.add(10)
        trades.commit()
        tables.pin()
        trades.add(7)
        left = list(happenings)
        header, numbers = trades.pages(
            question(limit, descending=descending), lambda: acts[left.pop(0)]() if left else None
        )
        assert header.exact
        assert numbers == trades.in_order(17, descending)
        for name in left:
            acts[name]()
        again = question(limit, descending=descending, consistency=AtCursor(header.cursor))
        assert trades.pages(again)[1] == numbers
    finally:
        tables.runner.close()


@pytest.mark.parametrize("retired", [False, True])
@pytest.mark.parametrize("limit", [0, 3])
def test_what_was_known_then_stays_so_over_pages_and_by_its_cursor(trades, retired, limit):
    """Where the log of that time is gone, its offsets cannot tell: the cursor keeps the time."""
    trades.commit()
    trades.tables.pin()
    if retired:
        trades.tables.retire(TRADES)
    trades.add(9)
    then_us = NOW_US + 7 * SECOND
    header, numbers = trades.pages(question(limit, consistency=AsKnownAt(then_us)))
    assert header.exact
    assert numbers == trades.in_order(7)
    trades.commit()
    trades.tables.pin()
    assert trades.pages(question(limit, consistency=AtCursor(header.cursor)))[1] == numbers


def test_what_was_known_then_stays_so_in_streams_that_have_ended(trades):
    trades.grow()
    trades.tables.pin()
    trades.add(9)
    header, numbers = trades.pages(question(4, consistency=AsKnownAt(NOW_US + 7 * SECOND)))
    assert (header.exact, numbers) == (True, trades.in_order(7))
    assert trades.pages(question(consistency=AtCursor(header.cursor)))[1] == numbers


def test_a_snapshot_that_expires_before_it_is_read_gives_way_to_the_next(trades):
    """The pin's snapshot goes between plan and read: E is kept, and the time with it."""
    then_us = NOW_US + 15 * SECOND
    trades.commit()
    trades.expire()
    header, numbers = trades.pages(question(consistency=AsKnownAt(then_us)))
    assert (header.exact, numbers) == (True, trades.in_order(15))
    trades.tables.retire(TRADES)
    trades.add(1)
    trades.commit()
    trades.expire()
    header, numbers = trades.pages(question(consistency=AsKnownAt(then_us)))
    assert (header.exact, numbers) == (True, trades.in_order(15))
    assert trades.pages(question(6, consistency=AtCursor(header.cursor)))[1] == numbers


def test_a_page_of_the_exact_size_of_the_answer_has_no_next(trades):
    _, numbers, cursor = trades.page(question(20))
    assert (numbers, cursor) == (trades.in_order(20), "")
    _, numbers, cursor = trades.page(question(19))
    assert numbers == trades.in_order(20)[:19]
    assert trades.page(question(19, page_cursor=cursor))[1:] == (trades.in_order(20)[19:], "")


def test_history_of_a_snapshot_is_paged_too(trades):
    snapshot = trades.tables.lakes[TRADES].head
    trades.commit()
    trades.tables.pin()
    _, numbers = trades.pages(question(5, consistency=AtSnapshot(snapshot)))
    assert numbers == trades.in_order(12)


def test_cursors_of_other_questions_and_whole_answers_are_no_pages(trades):
    header, _, cursor = trades.page(question(5))
    for asked, field in [
        (question(5, page_cursor=header.cursor), "page_cursor"),
        (question(5, page_cursor=cursor[:-1]), "page_cursor"),
        (question(5, descending=True, page_cursor=cursor), "page_cursor"),
        (Question(RecordKind.QUOTES, page_cursor=cursor), "page_cursor"),
    ]:
        with pytest.raises(Invalid) as caught:
            trades.page(asked)
        assert caught.value.field == field


def test_a_cursor_of_a_life_that_was_rolled_back_is_gone(trades):
    lake = trades.tables.lakes[TRADES]
    before = lake.head
    trades.grow()
    trades.tables.pin()
    trades.add(4)
    header, _, _ = trades.page(question())
    lake.table.roll_back(before)
    lake.adopt_head()
    trades.tables.pin()
    with pytest.raises(Gone, match="the table was moved back") as caught:
        trades.page(question(consistency=AtCursor(header.cursor)))
    assert caught.value.field == "at"


def closing(tables, kind):
    """The stream of `kind` is closed with all that its tail has lost: what E names is not there any more."""
    lake = tables.lakes[kind]
    tables.meanwhile = lambda kind: None
    lake.log.grow(lake.topic)
    lake.adopt(succeeds=max(lake.view.streams), lost=True)


@pytest.mark.parametrize("name", ["at", "page_cursor", "as_known_at"])
def test_rows_that_are_gone_are_named_by_the_parameter_that_asked_for_them(trades, name):
    tables = trades.tables
    trades.add(4)
    header, _, cursor = trades.page(question(5))
    asked = {
        "at": question(5, consistency=AtCursor(header.cursor)),
        "page_cursor": question(5, page_cursor=cursor),
        "as_known_at": question(consistency=AsKnownAt(tables.now_us)),
    }[name]
    tables.now_us += 60 * SECOND
    tables.tail_lo[TRADES] = len(tables.appended[TRADES])
    tables.meanwhile = lambda kind: closing(tables, kind)
    with pytest.raises(Gone, match="takes no more rows" if name == "as_known_at" else "shed_since") as caught:
        trades.page(asked)
    assert caught.value.field == name


def test_a_snapshot_that_is_gone_is_named_by_its_parameter(trades):
    with pytest.raises(Gone, match="not kept any more") as caught:
        trades.page(question(consistency=AtSnapshot(999)))
    assert caught.value.field == "snapshot"


def test_without_room_for_a_cursor_there_is_an_answer_without_one(trades):
    trades.tables.opening.codec = CursorCodec(b"a secret of sixteen", most_bytes=40)
    header, numbers, cursor = trades.page(question(5))
    assert (header.exact, header.cursor, len(numbers), cursor) == (True, "", 5, "")
    assert header.reason.startswith("no_cursor: offsets of 2 partitions")


def test_streams_that_have_ended_are_named_without_their_offsets(trades):
    """By any later pin: also one of another gateway that has not seen them end yet."""
    tables = trades.tables
    trades.grow()
    stale = PinCache({kind: lake.table for kind, lake in tables.lakes.items()}, tables.lakes[TRADES].states)
    tables.run(stale.refresh(TRADES))
    for _ in range(3):
        tables.pin()
        trades.add(4)
        trades.grow()
    trades.add(4)
    tables.pin()
    header, numbers, _ = trades.page(question())
    of_table = tables.opening.codec.decode(header.cursor).tables["trades"]
    assert of_table.ended is not None
    assert of_table.ended.streams == {1, 2, 3, 4}
    assert {where.stream_id for where in of_table.end} == {5}
    trades.add(4)
    tables.opening.pins = stale
    again, same, _ = trades.page(question(consistency=AtCursor(header.cursor)))
    assert (same, again.exact, again.tables[0].end) == (numbers, True, header.tables[0].end)


def test_events_are_paged_in_the_order_of_the_log():
    tables = Tables()
    try:
        for number in range(9):
            tables.append(
                EVENTS,
                f"binance:spot:{number % 2}",
                event_id=str(number),
                timestamp=NOW_US - number,
                shard=number,
            )
            if number == 5:
                tables.commit(EVENTS)
                tables.pin()
        asked = Question(EVENTS, columns=("stream_id", "kafka_partition", "kafka_offset"), limit=2)

        async def ask():
            rows, cursor = [], ""
            while True:
                answer = await tables.gateway.query(
                    replace(asked, page_cursor=cursor), Call("q", "test", "c")
                )
                rows += [tuple(row.values()) async for batch in answer.batches for row in batch.to_pylist()]
                if not (cursor := answer.next_cursor):
                    return rows

        rows = tables.run(ask())
        assert rows == sorted(
            (row["stream_id"], row["kafka_partition"], row["kafka_offset"]) for row in tables.appended[EVENTS]
        )
    finally:
        tables.runner.close()
