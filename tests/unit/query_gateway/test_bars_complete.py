"""Bars say whether the venue's closed klines count their very trades: by what was known at the answer's vectors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.query_gateway import finality_index
from seamark.query_gateway.finality_index import FinalityIndex
from seamark.query_gateway.question import AsKnownAt, AtCursor, BarsQuestion, Latest
from seamark.query_gateway.running import Call
from unit.query_gateway.market import EVENTS, MINUTE, SECOND, SYMBOLS, TRADES, Market
from unit.query_gateway.tables import NOW_US

START = NOW_US // (5 * MINUTE) * 5 * MINUTE + 5 * MINUTE
RANGE = {"from_us": START, "to_us": START + 5 * MINUTE}


def market_after_its_minutes():
    """Klines are there no sooner than their minutes are over."""
    made = Market()
    made.say("SESSION_OPENED")
    made.tables.now_us = START + 5 * MINUTE
    return made


@pytest.fixture
def market():
    made = market_after_its_minutes()
    yield made
    made.close()


class Kept:
    """A market, and beside it all that was appended, as plain tuples."""

    def __init__(self):
        self.market = market_after_its_minutes()
        self.trades, self.klines = [], []

    def trade(self, symbol, minute, number):
        # A time of its own for each id: the venue counts by time, and each id counts once.
        at_us = START + minute * MINUTE + number % 60 * SECOND
        self.market.trade(symbol, at_us, number=number)
        self.trades.append((self.market.tables.now_us, symbol, minute, number))

    def close_minute(self, symbol, minute, ids):
        self.market.close_minute(symbol, START + minute * MINUTE, ids)
        self.klines.append((self.market.tables.now_us, symbol, minute, ids))

    def by_hand(self, symbol, minutes, until_us=2**62):
        """By start of the bar, whether it is complete."""
        ids, told = {}, {}
        for at_us, name, minute, number in self.trades:
            if name == symbol and at_us <= until_us:
                ids.setdefault(minute, set()).add(number)
        for at_us, name, minute, known in self.klines:
            if name == symbol and at_us <= until_us:
                told.setdefault(minute, set(range(known[0], known[1] + 1)) if known else set())
        found = {}
        for first in sorted({minute // minutes * minutes for minute in ids if 0 <= minute < 5}):
            touched = range(first, first + minutes)
            if all(0 <= one < 5 and one in told for one in touched):
                verdict = all(told[one] == ids.get(one, set()) for one in touched)
            else:
                verdict = None
            found[START + first * MINUTE] = verdict
        return found


MINUTES = st.integers(-1, 5)
TRADE = st.tuples(st.just("trade"), st.sampled_from(SYMBOLS), MINUTES, st.integers(0, 2))
CLOSE = st.tuples(
    st.just("close"),
    st.sampled_from(SYMBOLS),
    MINUTES,
    st.sampled_from(["seen", "seen", "seen", (0, 1), None]),
)
STEPS = st.lists(
    st.one_of(
        *[TRADE] * 4,
        *[CLOSE] * 4,
        st.tuples(st.just("commit"), st.sampled_from([TRADES, EVENTS]), st.booleans(), st.just(0)),
        *[st.tuples(st.just("ask"), st.sampled_from(SYMBOLS), st.just(0), st.just(0))] * 2,
        st.tuples(st.just("wait"), st.sampled_from([5, 40]), st.just(0), st.just(0)),
    ),
    min_size=20,
    max_size=45,
)


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_every_verdict_is_that_of_the_definition_at_its_vectors(steps):
    kept = Kept()
    market, tables, counts = kept.market, kept.market.tables, {}
    cursors = []
    try:
        for what, subject, first, second in [*steps, *(("ask", symbol, 0, 0) for symbol in SYMBOLS)]:
            tables.now_us += SECOND // 2
            if what == "trade":
                # Ids rise over minutes as they do at a venue, with holes where `second` says so.
                number = (first + 1) * 60 + counts.get((subject, first), 0) + (second == 2)
                counts[subject, first] = number - (first + 1) * 60 + 1
                kept.trade(subject, first, number)
            elif what == "close":
                seen = [number for _, name, at, number in kept.trades if (name, at) == (subject, first)]
                ids = ((min(seen), max(seen)) if seen else None) if second == "seen" else second
                kept.close_minute(subject, first, ids)
            elif what == "commit":
                tables.commit(subject)
                if first:
                    tables.pin()
            elif what == "wait":
                tables.now_us += subject * SECOND
            else:
                for minutes, interval in ((1, "1m"), (5, "5m")):
                    question = {"symbol": subject, "interval": interval} | RANGE
                    header, _ = market.answer(seconds=0, consistency=Latest(), **question)
                    expected = kept.by_hand(subject, minutes)
                    assert market.complete(**question) == expected
                    cursors.append((question, AtCursor(header.cursor), expected))
        tables.now_us += 10 * SECOND
        for question, cursor, expected in cursors:
            assert market.complete(consistency=cursor, **question) == expected
        for at_us in {at_us for at_us, *_ in kept.trades + kept.klines}:
            question = {"symbol": "AAA", "interval": "1m"} | RANGE
            assert market.complete(consistency=AsKnownAt(at_us), **question) == kept.by_hand("AAA", 1, at_us)
    finally:
        market.close()


def minute_of_trades(market, minute=0, ids=(7, 8)):
    for number in ids:
        market.trade("AAA", START + minute * MINUTE + number * SECOND, number=number)


def test_nothing_is_known_before_the_kline_is_there(market):
    minute_of_trades(market)
    assert market.complete(interval="1m", **RANGE) == {START: None}
    market.close_minute("AAA", START, (7, 8))
    assert market.complete(interval="1m", **RANGE) == {START: True}


def test_a_trade_that_is_healed_later_makes_its_bar_complete(market):
    minute_of_trades(market, ids=(7, 9))
    market.close_minute("AAA", START, (7, 9))
    assert market.complete(interval="1m", **RANGE) == {START: False}
    market.trade("AAA", START + 8 * SECOND, number=8, origin="BACKFILL")
    assert market.complete(interval="1m", **RANGE) == {START: True}


def test_short_bars_have_the_verdict_of_their_minute_where_it_is_in_the_range(market):
    minute_of_trades(market)
    market.close_minute("AAA", START, (7, 8))
    assert market.complete(interval="1s", **RANGE) == {START + 7 * SECOND: True, START + 8 * SECOND: True}
    assert market.complete(interval="5s", **RANGE) == {START + 5 * SECOND: True}
    for cut in ({"from_us": START + SECOND}, {"to_us": START + MINUTE - 1}):
        assert set(market.complete(interval="1s", **RANGE | cut).values()) == {None}
        assert set(market.complete(interval="1m", **RANGE | cut).values()) == {None}


def test_a_longer_bar_needs_the_klines_of_its_minutes_without_trades(market):
    minute_of_trades(market)
    market.close_minute("AAA", START, (7, 8))
    for minute in range(1, 5):
        assert market.complete(interval="5m", **RANGE) == {START: None}
        market.close_minute("AAA", START + minute * MINUTE, None)
    assert market.complete(interval="5m", **RANGE) == {START: True}
    assert market.complete(interval="1m", **RANGE) == {
        START: True
    }  # where there are no trades, there is no bar


def test_a_minute_whose_rows_may_be_missing_is_not_called_incomplete(market):
    minute_of_trades(market, 0, ids=(7, 8))
    minute_of_trades(market, 1, ids=(9, 10))
    market.close_minute("AAA", START, (7, 8))
    market.close_minute("AAA", START + MINUTE, (9, 10))
    market.tables.tail_lo[TRADES], market.tables.log_down = 1, True
    header, _ = market.answer("AAA", 0, Latest(), interval="1m", **RANGE)
    assert not header.exact
    assert market.complete(interval="1m", **RANGE) == {START: None, START + MINUTE: True}


def test_nothing_is_known_where_events_are_missing(market):
    """The kline is there, but another one of its minute may be before it."""
    minute_of_trades(market)
    market.close_minute("AAA", START - MINUTE, None)
    market.close_minute("AAA", START, (7, 8))
    market.tables.tail_lo[EVENTS], market.tables.log_down = 1, True
    assert market.complete(interval="1m", **RANGE) == {START: None}
    market.tables.log_down = False
    assert market.complete(interval="1m", **RANGE) == {START: True}


def test_what_other_symbols_markets_and_feeds_say_does_not_count(market):
    minute_of_trades(market)
    market.close_minute("BBB", START, (7, 8))
    market.close_minute("AAA", START, (7, 8), market="usdm")
    market.close_minute("AAA", START, (7, 8), feed="aggTrade")
    assert market.complete(interval="1m", **RANGE) == {START: None}


def test_closed_minutes_are_no_words_of_a_leg():
    """An event of a symbol is in no shard: it neither settles anything nor is a shard beside the only one."""
    market = Market()
    market.trade("AAA", NOW_US, number=1)
    market.tables.now_us += 4 * SECOND
    market.say("PROGRESS", venue_us=NOW_US + 4 * SECOND)
    states = [bar[3] for bar in market.bars()[1]]
    market.tables.now_us += 30 * SECOND
    market.close_minute("AAA", NOW_US // MINUTE * MINUTE, (1, 1))
    assert [bar[3] for bar in market.bars()[1]] == states == ["final"]
    market.close()


def test_a_market_with_more_closed_minutes_than_are_kept_is_read_anew(market, monkeypatch):
    monkeypatch.setattr(finality_index, "_MOST_CLOSED", 2)
    index = FinalityIndex(market.tables.opening)
    asked = BarsQuestion("binance", "spot", "AAA", START, START + 5 * MINUTE, "1m")
    for minute in range(4):
        market.close_minute("AAA", START + minute * MINUTE, None)
        said = market.tables.run(index.read(asked, "", Call("q", "test", "c")))
        assert len(said.closed.within(START, START + 5 * MINUTE).minute_us) == minute + 1
