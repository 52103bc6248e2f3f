"""Answers name the gaps over their rows, as the ledger stood at their own vector, or say that nobody knows."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway import gaps as gaps_module
from seamark.query_gateway.gaps import FOUND_LATER_US, GapLedger
from seamark.query_gateway.gateway import Gateway
from seamark.query_gateway.question import (
    AsKnownAt,
    AsOfQuestion,
    AtCursor,
    AtSnapshot,
    BarsQuestion,
    Latest,
    Question,
)
from seamark.query_gateway.running import Call
from unit.query_gateway.tables import NOW_US, Tables

TRADES, EVENTS, QUOTES = RecordKind.TRADES, RecordKind.FEED_EVENTS, RecordKind.QUOTES
SECOND = 1_000_000
HOUR = 3_600 * SECOND


class Market:
    """Trades of two symbols, and what the ledger says of them."""

    def __init__(self):
        self.tables = Tables()
        self.ledger()
        self.number = 0

    def ledger(self):
        """Begun anew, as by a restart."""
        tables = self.tables
        tables.gateway = Gateway(tables.opening, tables.opener, GapLedger(tables.opening))

    def trade(self, symbol="AAA"):
        self.number += 1
        now_us = self.tables.now_us
        times = {"timestamp": now_us, "ingestion_timestamp": now_us}
        market = {"exchange": "binance", "market": "spot", "symbol": symbol, "feed": "trade"}
        self.tables.append(
            TRADES, symbol, source_sequence=self.number, price=1, quantity=1, **times, **market
        )

    def say(self, kind, gap="g1", symbol="AAA", event_id=None, market="spot"):
        self.number += 1
        return self.tables.append(
            EVENTS,
            f"binance:{symbol}",
            event_id=event_id or f"{self.number}",
            kind=kind,
            exchange="binance",
            market=market,
            symbol=symbol,
            gap_id=gap,
            first_sequence=5,
            last_sequence=9,
            timestamp=self.tables.now_us,
        )

    def ask(self, consistency=Latest(), symbols=("AAA",), seconds=20.0, **question):
        asked = Question(TRADES, Predicate(symbols), consistency=consistency, **question)
        return self.header(lambda call: self.tables.gateway.query(asked, call), seconds)

    def bars(self, consistency=Latest(), symbol="AAA", market="spot", seconds=20.0):
        minute = 60 * SECOND
        asked = BarsQuestion(
            "binance", market, symbol, NOW_US - minute, NOW_US + minute, "1m", consistency=consistency
        )
        return self.header(lambda call: self.tables.gateway.bars(asked, call), seconds)

    def as_of(self, consistency=Latest()):
        asked = AsOfQuestion(("AAA",), NOW_US - SECOND, NOW_US + SECOND, consistency=consistency)
        return self.header(lambda call: self.tables.gateway.as_of(asked, call))

    def header(self, question, seconds=20.0):
        def timed(call):
            return question(replace(call, deadline_seconds=time.monotonic() + seconds))

        return self.tables.ask(timed)[0]

    def commit(self):
        for kind in RecordKind:
            self.tables.commit(kind)
        self.tables.pin()


@pytest.fixture
def market():
    made = Market()
    made.trade()
    yield made
    made.tables.runner.close()


def gaps(header):
    return None if header.gaps is None else [(gap.gap_id, gap.state) for gap in header.gaps]


def tables_of(header):
    return [table.table for table in header.tables]


@pytest.mark.parametrize("committed", [False, True])
def test_a_gap_is_named_until_it_is_closed(market, committed):
    assert gaps(market.ask()) == []
    for kind, expected in (
        ("GAP_OPEN", [("g1", "OPEN")]),
        ("GAP_HEALING", [("g1", "HEALING")]),
        ("GAP_UNHEALABLE", [("g1", "UNHEALABLE")]),
        ("GAP_HEALED", []),
        ("GAP_EXPECTED_HOLE", []),
    ):
        market.tables.now_us += SECOND
        market.say(kind)
        if committed:
            market.commit()
        header = market.ask()
        assert gaps(header) == expected
        assert (header.exact, tables_of(header)) == (True, ["trades", "feed_events"])
        market.ledger()
        assert gaps(market.ask()) == expected


def test_an_event_that_was_sent_twice_opens_no_gap_again(market):
    market.say("GAP_OPEN", event_id="one")
    market.say("GAP_HEALED", event_id="two")
    market.say("GAP_OPEN", event_id="one")
    assert gaps(market.ask()) == []


def test_only_gaps_over_the_rows_are_named(market):
    market.say("GAP_OPEN", "g1", "AAA")
    market.say("GAP_OPEN", "g2", "BBB")
    assert gaps(market.ask(symbols=("BBB",))) == [("g2", "OPEN")]
    assert sorted(gaps(market.ask(symbols=()))) == [("g1", "OPEN"), ("g2", "OPEN")]
    assert gaps(market.bars(market="spot")) == [("g1", "OPEN")]
    assert gaps(market.bars(market="perp")) == []


@pytest.mark.parametrize(
    ("from_us", "to_us", "named"),
    [
        (NOW_US, None, True),
        (NOW_US + 1, None, False),
        (None, NOW_US - FOUND_LATER_US, False),
        (None, NOW_US - FOUND_LATER_US + 1, True),
    ],
)
def test_a_gap_belongs_to_rows_until_an_hour_before_it_was_told(market, from_us, to_us, named):
    market.say("GAP_OPEN")
    predicate = Predicate(("AAA",), from_us=from_us, to_us=to_us)
    asked = Question(TRADES, predicate)
    header = market.header(lambda call: market.tables.gateway.query(asked, call))
    assert gaps(header) == ([("g1", "OPEN")] if named else [])


def test_a_gap_told_in_a_range_that_could_not_be_read_is_named_when_it_can(market):
    """The tail has only what came behind it."""
    market.say("GAP_OPEN", "g1")
    market.say("GAP_OPEN", "g2")
    market.tables.tail_lo[EVENTS], market.tables.log_down = 1, True
    header = market.ask()
    assert (gaps(header), header.exact, header.partial) == (None, True, False)
    assert tables_of(header) == ["trades"]
    market.tables.log_down = False
    assert gaps(market.ask()) == [("g1", "OPEN"), ("g2", "OPEN")]
    market.tables.tail_lo[EVENTS] = 0
    market.commit()
    assert gaps(market.ask()) == [("g1", "OPEN"), ("g2", "OPEN")]


def test_gaps_are_not_known_where_the_ledger_cannot_be_read(market):
    market.say("GAP_OPEN")
    assert gaps(market.ask()) == [("g1", "OPEN")]
    market.tables.tail_down, market.tables.log_down = {EVENTS}, True
    header = market.ask()
    assert (gaps(header), header.exact) == (None, True)
    assert gaps(market.as_of()) is None
    market.tables.tail_down = set()
    # The cursor does not say how far the ledger was read: it gives the same rows, and nobody knows their gaps.
    assert gaps(market.ask(AtCursor(header.cursor))) is None
    assert gaps(market.ask()) == [("g1", "OPEN")]


@pytest.mark.parametrize("asking", ["ask", "bars", "as_of"])
@pytest.mark.parametrize("later", ["at once", "hours later", "committed", "restarted"])
def test_a_cursor_names_the_gaps_that_it_was_given_with(market, asking, later):
    market.say("GAP_OPEN")
    ask = getattr(market, asking)
    header = ask()
    assert gaps(header) == [("g1", "OPEN")]
    market.tables.now_us += 3 * HOUR if later == "hours later" else SECOND
    market.trade()
    market.say("GAP_HEALED")
    assert gaps(ask()) == []
    if later == "committed":
        market.commit()
    if later == "restarted":
        market.ledger()
    again = ask(AtCursor(header.cursor))
    assert (gaps(again), again.exact) == ([("g1", "OPEN")], True)
    assert {table.table: table.end for table in again.tables} == {
        table.table: table.end for table in header.tables
    }
    assert gaps(ask()) == []


def test_a_cursor_from_before_a_gap_does_not_name_it(market):
    before = market.ask()
    market.tables.now_us += HOUR
    market.say("GAP_OPEN")
    assert gaps(market.ask()) == [("g1", "OPEN")]
    assert gaps(market.ask(AtCursor(before.cursor))) == []


def test_a_page_names_the_gaps_of_the_first_one(market):
    market.trade()
    market.say("GAP_OPEN")

    async def first():
        asked = Question(TRADES, Predicate(("AAA",)), limit=1)
        answer = await market.tables.gateway.query(asked, Call("q", "test", "c"))
        async for _ in answer.batches:
            pass
        return answer.next_cursor

    cursor = market.tables.run(first())
    assert cursor
    market.say("GAP_HEALED")
    assert gaps(market.ask(page_cursor=cursor, limit=1)) == [("g1", "OPEN")]


@pytest.mark.parametrize("asking", ["ask", "bars", "as_of"])
@pytest.mark.parametrize("later", ["at once", "committed", "restarted"])
def test_what_was_known_then_has_the_gaps_of_then(market, asking, later):
    market.say("GAP_OPEN")
    market.tables.now_us += 10 * SECOND
    then_us = market.tables.now_us
    market.tables.now_us += 10 * SECOND
    market.say("GAP_HEALED")
    market.say("GAP_OPEN", "g2")
    ask = getattr(market, asking)
    assert gaps(ask()) == [("g2", "OPEN")] or asking == "as_of"
    market.tables.now_us += 10 * SECOND
    if later == "committed":
        market.commit()
    if later == "restarted":
        market.ledger()
    assert gaps(ask(AsKnownAt(then_us))) == [("g1", "OPEN")]
    assert gaps(ask(AsKnownAt(NOW_US - SECOND))) == []


def test_of_one_snapshot_gaps_are_those_of_now(market):
    market.commit()
    snapshot = market.tables.lakes[TRADES].head
    market.say("GAP_OPEN")
    assert gaps(market.ask(AtSnapshot(snapshot))) == [("g1", "OPEN")]


def test_feed_events_are_answered_without_gaps(market):
    market.say("GAP_OPEN")
    header = market.header(lambda call: market.tables.gateway.query(Question(EVENTS), call))
    assert (gaps(header), tables_of(header)) == ([], ["feed_events"])


def test_a_gateway_that_starts_long_after_an_event_still_reads_on_from_it(market):
    """By the clock of the answers, not that of the machine."""
    market.tables.now_us = time.time_ns() // 1000 - 400 * 24 * HOUR
    market.say("GAP_OPEN")
    assert gaps(market.ask()) == [("g1", "OPEN")]
    market.tables.now_us += HOUR
    market.say("GAP_HEALED")
    assert gaps(market.ask()) == []


def test_of_a_table_that_others_have_changed_gaps_are_not_known(market):
    market.say("GAP_OPEN")
    market.commit()
    assert gaps(market.ask()) == [("g1", "OPEN")]
    market.tables.lakes[EVENTS].table.foreign_append()
    market.tables.pin()
    header = market.ask()
    assert (gaps(header), header.exact) == (None, True)


def test_rows_do_not_wait_for_a_ledger_that_takes_long(market):
    """The tail of the events is down and Kafka slow; once it answers, one reading serves all who wait."""
    market.say("GAP_OPEN")
    market.tables.tail_down = {EVENTS}
    market.tables.log.hold = threading.Event()
    began = time.monotonic()
    header = market.ask(seconds=1.0)
    assert (gaps(header), header.exact) == (None, True)
    assert time.monotonic() - began < 0.9
    market.tables.log.hold.set()
    assert gaps(market.ask()) == [("g1", "OPEN")]


def test_bars_do_not_wait_for_events_that_take_long(market):
    """They are partial: what the legs have said behind H(S) is missing."""
    market.commit()
    market.say("GAP_OPEN")
    market.tables.tail_down = {EVENTS}
    market.tables.log.hold = threading.Event()
    began = time.monotonic()
    header = market.bars(seconds=1.0)
    assert (gaps(header), header.exact, header.partial) == (None, False, True)
    assert time.monotonic() - began < 0.9
    feed = header.tables[1]
    assert {(gone.where, gone.first, gone.next) for gone in feed.missing} == {
        (where, offset, None) for where, offset in feed.watermark.items()
    }
    market.tables.log.hold.set()
    header = market.bars()
    assert (gaps(header), header.exact) == ([("g1", "OPEN")], True)


def test_all_who_ask_at_the_same_moment_share_one_reading(market):
    market.say("GAP_OPEN")
    reads = []
    market.tables.meanwhile = reads.append

    async def many():
        asked = Question(TRADES, Predicate(("AAA",)))
        call = Call("q", "test", "c", time.monotonic() + 20.0)
        answers = await asyncio.gather(*(market.tables.gateway.query(asked, call) for _ in range(20)))
        return [answer.header for answer in answers]

    for header in market.tables.run(many()):
        assert gaps(header) == [("g1", "OPEN")]
    assert reads.count(TRADES) == 20
    assert reads.count(EVENTS) <= 3


@pytest.mark.parametrize("asking", ["ask", "bars", "as_of"])
def test_with_more_events_than_are_kept_each_question_begins_anew(market, asking, monkeypatch):
    monkeypatch.setattr(gaps_module, "_MOST_EVENTS", 2)
    ledger = market.tables.gateway._gaps
    ask = getattr(market, asking)
    market.say("GAP_OPEN")
    market.say("GAP_OPEN", "g2")
    assert gaps(ask()) == [("g1", "OPEN"), ("g2", "OPEN")]
    assert len(ledger._events) == 2
    market.tables.now_us += HOUR
    header = ask()
    market.say("GAP_HEALED")
    for committed in (False, True):
        assert gaps(ask()) == [("g2", "OPEN")]
        assert len(ledger._events) == 0
        assert gaps(ask(AtCursor(header.cursor))) == [("g1", "OPEN"), ("g2", "OPEN")]
        assert gaps(ask(AsKnownAt(market.tables.now_us - 30 * 60 * SECOND))) == [
            ("g1", "OPEN"),
            ("g2", "OPEN"),
        ]
        if not committed:
            market.tables.now_us += HOUR // 4
            market.commit()
