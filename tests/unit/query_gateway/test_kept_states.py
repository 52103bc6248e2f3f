"""States of past minutes are those of the rows, whatever was kept before; and what is kept is not read again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.query_gateway.bars_answer import BarsAnswers
from seamark.query_gateway.question import INTERVALS_US, MINUTE_US, BarsQuestion
from unit.query_gateway.tables import NOW_US, Tables

TRADES = RecordKind.TRADES
HOUR_US = 60 * MINUTE_US


class Chart:
    """One symbol's trades in memory, and two who answer for its bars: one of them keeps states."""

    def __init__(self):
        self.tables = Tables()
        self.tables.now_us = NOW_US + 5 * HOUR_US
        self.keeping = BarsAnswers(self.tables.opening)
        self.number = 0

    def trade(self, time_us, price=1, symbol="AAA", feed="trade"):
        self.number += 1
        values = {"symbol": symbol, "timestamp": time_us, "price": price, "quantity": price}
        self.tables.append(TRADES, symbol, source_sequence=self.number, feed=feed, **values)

    def commit(self):
        self.tables.commit(TRADES)
        self.tables.pin()

    def bars(self, first_us, behind_us, interval="1m", symbol="AAA", keeping=True):
        asked = BarsQuestion(
            exchange="binance",
            market="spot",
            symbol=symbol,
            interval=interval,
            from_us=NOW_US + first_us,
            to_us=NOW_US + behind_us,
        )
        answers = self.keeping if keeping else BarsAnswers(self.tables.opening)
        header, table = self.tables.ask(lambda call: answers.answer(asked, call))
        assert header.exact
        return table.to_pylist()

    def by_hand(self, first_us, behind_us, interval, symbol="AAA"):
        """(start, open, high, low, close, trades) of each bar."""
        bars = {}
        trades = [row for row in self.tables.appended[TRADES] if row["symbol"] == symbol]
        for row in sorted(trades, key=lambda row: (row["timestamp"], row["source_sequence"])):
            if NOW_US + first_us <= row["timestamp"] < NOW_US + behind_us:
                start_us = row["timestamp"] // INTERVALS_US[interval] * INTERVALS_US[interval]
                bars.setdefault(start_us, []).append(row["price"])
        return [(at, one[0], max(one), min(one), one[-1], len(one)) for at, one in sorted(bars.items())]

    def read_of_history(self):
        """Microseconds of the windows read since the last look; open ones count as none."""
        read, self.tables.history.windows = self.tables.history.windows, []
        return sum(
            one.to_us - one.from_us for one in read if one.from_us is not None and one.to_us is not None
        )


@pytest.fixture
def chart():
    made = Chart()
    yield made
    made.tables.runner.close()


def told(bars):
    """What `by_hand` says of them."""
    prices = ("open", "high", "low", "close", "trades")
    return [(int(bar["start"].timestamp()) * 1_000_000, *(int(bar[name]) for name in prices)) for bar in bars]


STEPS = st.lists(
    st.one_of(
        *[
            st.tuples(
                st.just("trade"),
                st.integers(0, 5 * 60 - 1),
                st.integers(0, 59),
                st.sampled_from(["AAA", "BBB"]),
            )
        ]
        * 4,
        st.tuples(st.just("commit"), st.just(0), st.just(0), st.just("")),
        *[
            st.tuples(
                st.just("ask"),
                st.integers(0, 4 * 60 * 60),
                st.sampled_from([60, 3_600, 5 * 3_600]),
                st.sampled_from(["1s", "5s", "1m", "5m", "15m", "1h", "4h"]),
            )
        ]
        * 2,
    ),
    min_size=10,
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_bars_are_those_that_reading_all_would_give(steps):
    chart = Chart()
    try:
        ask = ("ask", 0, 5 * 3_600, "1m")
        # At last the newest minutes become longer stretches.
        later = [("commit", 0, 0, ""), ask, ("trade", 5 * 60 - 1, 0, "AAA"), ("commit", 0, 0, ""), ask]
        for what, first, second, third in [*steps, *later]:
            if what == "trade":
                chart.trade(NOW_US + first * MINUTE_US + second * 1_000_000, second + 1, third)
            elif what == "commit":
                chart.commit()
            else:
                times = (first * 1_000_000, (first + second) * 1_000_000)
                kept = chart.bars(*times, interval=third)
                assert kept == chart.bars(*times, interval=third, keeping=False)
                assert told(kept) == chart.by_hand(*times, third)
                assert kept == chart.bars(*times, interval=third)
    finally:
        chart.tables.runner.close()


def traded_for_hours(chart):
    for minute in range(5 * 60):
        chart.trade(NOW_US + minute * MINUTE_US, minute + 1)
    chart.commit()


def test_what_was_asked_for_before_is_not_read_again(chart):
    traded_for_hours(chart)
    before = chart.bars(0, 5 * HOUR_US)
    assert chart.read_of_history() > 4 * HOUR_US
    assert chart.bars(0, 5 * HOUR_US) == before
    assert chart.read_of_history() <= 2 * MINUTE_US


def test_minutes_serve_all_longer_bars(chart):
    traded_for_hours(chart)
    chart.bars(0, 5 * HOUR_US, "1m")
    chart.read_of_history()
    found = chart.bars(0, 5 * HOUR_US, "1h")
    assert chart.read_of_history() <= 2 * MINUTE_US
    assert found == chart.bars(0, 5 * HOUR_US, "1h", keeping=False)


def test_a_question_that_begins_later_reads_its_first_minutes_alone(chart):
    traded_for_hours(chart)
    chart.bars(0, 5 * HOUR_US)
    chart.read_of_history()
    chart.bars(3 * MINUTE_US, 5 * HOUR_US)
    assert chart.read_of_history() <= HOUR_US  # the hour it begins in is not kept by five minutes yet


def test_a_late_row_is_in_its_minute_before_its_commit_and_behind(chart):
    traded_for_hours(chart)
    before = chart.bars(0, 5 * HOUR_US)
    chart.trade(NOW_US + 90 * MINUTE_US + 1, 7_777)
    waiting = chart.bars(0, 5 * HOUR_US)
    assert [bar["high"] for bar in waiting if bar not in before] == [7_777]
    chart.commit()
    chart.read_of_history()
    assert chart.bars(0, 5 * HOUR_US) == waiting
    assert 0 < chart.read_of_history() <= HOUR_US + 2 * MINUTE_US
    assert chart.bars(0, 5 * HOUR_US) == waiting
    assert chart.read_of_history() <= 2 * MINUTE_US


def test_trades_that_no_kline_counts_are_kept_too(chart):
    for minute in range(3 * 60):
        chart.trade(NOW_US + minute * MINUTE_US, minute + 1, feed="aggTrade")
    chart.commit()
    before = chart.bars(0, 5 * HOUR_US)
    assert len(before) == 3 * 60
    assert chart.bars(0, 5 * HOUR_US) == before


def test_another_symbols_states_are_its_own(chart):
    for minute in range(60):
        chart.trade(NOW_US + minute * MINUTE_US, 5, "BBB")
    traded_for_hours(chart)
    chart.bars(0, 5 * HOUR_US)
    assert {bar["close"] for bar in chart.bars(0, 5 * HOUR_US, symbol="BBB")} == {5}


def test_minutes_that_are_kept_are_not_read_again_when_they_have_become_five_or_an_hour(chart):
    hour_us = -(-NOW_US // HOUR_US) * HOUR_US - NOW_US
    for minute in range(70):
        chart.trade(NOW_US + hour_us + minute * MINUTE_US, minute + 1)
        chart.trade(NOW_US + hour_us + minute * MINUTE_US + 1, minute + 2)
    chart.commit()
    end_us = hour_us + 65 * MINUTE_US
    chart.bars(hour_us, end_us)
    for later in (75, 4 * 60 - 1):  # the last minutes have become five minutes, then all but them an hour
        chart.trade(NOW_US + hour_us + later * MINUTE_US, 7_777)
        chart.commit()
        chart.tables.history.windows.clear()
        found = chart.bars(hour_us, end_us)
        assert {(one.from_us, one.to_us) for one in chart.tables.history.windows} <= {
            (None, NOW_US + hour_us),
            (NOW_US + end_us, None),
        }
        assert told(found) == chart.by_hand(hour_us, end_us, "1m")
