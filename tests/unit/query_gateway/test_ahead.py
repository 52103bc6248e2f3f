"""What is made before anybody asks is what asking would give, and is then not read again."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings

from seamark.query_gateway import bars_answer
from seamark.query_gateway.ahead import Ahead
from seamark.query_gateway.question import MINUTE_US
from unit.query_gateway.tables import NOW_US
from unit.query_gateway.test_kept_states import HOUR_US, STEPS, TRADES, Chart, told, traded_for_hours


class Followed(Chart):
    """A chart whose states are made ahead of questions."""

    def __init__(self, span_seconds=5 * 3_600):
        super().__init__()
        tables = self.tables
        self.ahead = Ahead(
            tables.pins, tables.history, self.keeping.learn, span_seconds, lambda: tables.now_us
        )

    def follow(self, steps=100):
        """Until nothing waits, or so many steps."""
        for _ in range(steps):
            self.tables.runner.run(self.ahead.step())
            if self.ahead.idle:
                break


@pytest.fixture
def chart():
    made = Followed()
    yield made
    made.tables.runner.close()


def test_a_symbol_that_nobody_asked_for_is_not_read(chart):
    for minute in range(5 * 60):
        chart.trade(NOW_US + minute * MINUTE_US, minute + 1, "BBB")
    traded_for_hours(chart)
    chart.follow()
    chart.tables.history.windows.clear()
    for symbol in ("AAA", "BBB"):
        found = chart.bars(0, 5 * HOUR_US, symbol=symbol)
        assert told(found) == chart.by_hand(0, 5 * HOUR_US, "1m", symbol)
    assert chart.read_of_history() <= 2 * 2 * MINUTE_US


def test_each_commit_brings_its_minutes_alone(chart):
    traded_for_hours(chart)
    chart.follow()
    assert chart.read_of_history() > 4 * HOUR_US
    chart.trade(NOW_US + 5 * HOUR_US + 70_000_000, 5)
    chart.commit()
    chart.follow()
    assert 0 < chart.read_of_history() <= 3 * MINUTE_US
    chart.follow()
    assert chart.read_of_history() == 0


def test_the_newest_minutes_come_first(chart):
    traded_for_hours(chart)
    chart.follow(steps=1)
    [window] = chart.tables.history.windows
    assert window.to_us > NOW_US + 5 * HOUR_US - 3 * MINUTE_US


def test_no_more_than_the_span_is_made():
    chart = Followed(span_seconds=1_800)
    traded_for_hours(chart)
    chart.follow()
    assert 0 < chart.read_of_history() <= HOUR_US / 2
    chart.tables.runner.close()


def test_none_is_made_where_none_is_wanted_and_files_are_at_hand_all_the_same():
    chart = Followed(span_seconds=0)
    traded_for_hours(chart)
    chart.follow()
    assert chart.tables.history.windows == []
    assert chart.tables.history.warmed == ["trades", "quotes"]
    chart.tables.runner.close()


def test_what_would_be_too_many_rows_is_left_to_those_who_ask(chart, monkeypatch):
    monkeypatch.setattr(bars_answer, "_MOST_LEARNED_ROWS", 0)
    traded_for_hours(chart)
    chart.follow()
    assert chart.tables.history.windows == []
    assert told(chart.bars(0, 5 * HOUR_US)) == chart.by_hand(0, 5 * HOUR_US, "1m")


def test_a_step_that_fails_is_left_out(chart):
    traded_for_hours(chart)
    lake = chart.tables.lakes[TRADES]
    expired = dict(lake.table.snapshots)
    lake.table.snapshots.clear()
    chart.follow(steps=3)
    lake.table.snapshots.update(expired)
    assert told(chart.bars(0, 5 * HOUR_US)) == chart.by_hand(0, 5 * HOUR_US, "1m")


def test_it_goes_on_until_it_is_cancelled(chart):
    traded_for_hours(chart)

    async def followed():
        running = asyncio.create_task(chart.ahead.run())
        while not chart.ahead.idle or not chart.tables.history.windows:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    chart.tables.runner.run(followed())
    assert chart.read_of_history() > 4 * HOUR_US


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_bars_are_those_that_reading_all_would_give(steps):
    chart = Followed()
    try:
        for what, first, second, third in [*steps, ("commit", 0, 0, ""), ("ask", 0, 5 * 3_600, "1m")]:
            if what == "trade":
                chart.trade(NOW_US + first * MINUTE_US + second * 1_000_000, second + 1, third)
            elif what == "commit":
                chart.commit()
                chart.follow(steps=chart.number % 3 * 20)
            else:
                times = (first * 1_000_000, (first + second) * 1_000_000)
                made = chart.bars(*times, interval=third)
                assert made == chart.bars(*times, interval=third, keeping=False)
                assert told(made) == chart.by_hand(*times, third)
    finally:
        chart.tables.runner.close()
