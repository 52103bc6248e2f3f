"""Closed klines say which trades truly were, whatever was sent of them, and over restarts."""

import asyncio
import json
from collections import Counter
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.simulator.events import BookTicker, Kline, Scheduled, Trade, kline_stream, trade_stream
from seamark.simulator.faults import FrameFaults
from seamark.simulator.generator import GeneratorSource
from seamark.simulator.klines import CLOSE_DELAY_US, MINUTE_US, PUSH_US, Klines, KlineState
from seamark.simulator.recording import RecordingSource
from seamark.simulator.wire import FrameFormat, TimeUnit, frame_text
from unit.simulator.venue import journal_lines, receive_json, receive_until_closed, running, write_recording

SYMBOLS = ("BTCUSDT", "ETHUSDT", "DOGEUSDT")
START_US = 1_800_000_030_000_000
"""In the middle of a minute."""
ALL = "/".join(f"{symbol.lower()}@{feed}" for symbol in SYMBOLS for feed in ("trade", "kline_1m"))


def generator():
    return GeneratorSource(SYMBOLS, 20, seed=4)


def source_of(name, folder):
    if name == "generator":
        return generator()
    return RecordingSource([write_recording(folder / f"{name}.jsonl")])


def trade(number, at_us, symbol="BTCUSDT", price="2.00000000", quantity="3.00000000", maker=True):
    made = Trade(symbol, trade_stream(symbol), number, price, quantity, at_us, at_us + 100, maker)
    return Scheduled(at_us + 100, made)


def ticker(at_us, symbol="BTCUSDT"):
    return Scheduled(at_us, BookTicker(symbol, "", 1, "1", "1", "1", "1"))


def by_hand(events, symbols, until_us):
    """Of each minute whose end has been passed by the close: symbol and start -> (first id, last id, count)."""
    counted = {}
    first_us = events[0].due_us // MINUTE_US * MINUTE_US
    for start_us in range(first_us, until_us - MINUTE_US - CLOSE_DELAY_US + 1, MINUTE_US):
        for symbol in symbols:
            ids = [
                event.trade_id
                for _, event in events
                if isinstance(event, Trade)
                and event.symbol == symbol
                and event.trade_time_us // MINUTE_US * MINUTE_US == start_us
            ]
            counted[symbol, start_us] = (min(ids, default=-1), max(ids, default=-1), len(ids))
    return counted


def closed_of(klines):
    found = [one for _, one in klines if one.closed]
    said = {(one.symbol, one.start_us): (one.first_id, one.last_id, one.trades) for one in found}
    assert len(said) == len(found), "a minute was closed twice"
    return said


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["generator", "recording"]), st.lists(st.integers(1, 3_000), min_size=1, max_size=4))
def test_closed_klines_are_the_minutes_of_the_market_however_it_is_cut(tmp_path_factory, name, cuts):
    source = source_of(name, tmp_path_factory.getbasetemp())
    symbols = [instrument.symbol for instrument in source.instruments]
    shift_us = START_US - source.next_due_us()
    events, pushed, state = [], [], KlineState()
    for count in [*cuts, 6_000]:
        klines = Klines(symbols)  # as after a restart
        klines.resume(msgspec.json.decode(msgspec.json.encode(state), type=KlineState))
        chunk = source.take(count, shift_us)
        pushed += klines.pushes(chunk)
        events += chunk
        state = klines.state()
    last_push_us = events[-1].due_us // PUSH_US * PUSH_US
    assert closed_of(pushed) == by_hand(events, symbols, last_push_us)
    assert [due_us for due_us, _ in pushed] == sorted(due_us for due_us, _ in pushed)
    for due_us, kline in pushed:
        assert kline.event_time_us == due_us
        assert not kline.closed or due_us >= kline.end_us


def test_a_minute_without_trades_has_no_ids_and_the_last_price():
    klines = Klines(["BTCUSDT", "ETHUSDT"])
    pushed = klines.pushes([trade(7, 0), ticker(125_000_000)])
    second = [one for _, one in pushed if one.closed and one.start_us == MINUTE_US]
    assert [(one.symbol, one.first_id, one.last_id, one.trades) for one in second] == [
        ("BTCUSDT", -1, -1, 0),
        ("ETHUSDT", -1, -1, 0),
    ]
    assert [one.close for one in second] == ["2.00000000", "0.00000000"]


def test_open_klines_say_what_was_until_then():
    klines = Klines(["BTCUSDT"])
    pushed = klines.pushes(
        [trade(7, 0), trade(8, 2_500_000, price="10.00000000"), trade(9, 3_000_000), ticker(4_000_000)]
    )
    assert [(due_us, one.closed, one.first_id, one.last_id, one.trades) for due_us, one in pushed] == [
        (2_000_000, False, 7, 7, 1),
        (4_000_000, False, 7, 9, 3),
    ]


def test_prices_and_amounts_are_those_of_the_trades():
    klines = Klines(["BTCUSDT"])
    trades = [
        trade(1, 0, price="9.00000000", quantity="1.00000000", maker=False),
        trade(2, 1, price="10.00000000", quantity="0.50000000"),
        trade(3, 2, price="8.00000000", quantity="2.00000000"),
        trade(4, 3, price="9.50000000", quantity="1.00000000", maker=False),
    ]
    ((_, kline),) = klines.pushes([*trades, ticker(PUSH_US)])
    assert (kline.open, kline.high, kline.low, kline.close) == (
        *("9.00000000", "10.00000000"),
        *("8.00000000", "9.50000000"),
    )
    assert (kline.volume, kline.quote_volume) == (Decimal("4.5"), Decimal("39.5"))
    assert (kline.taker_volume, kline.taker_quote_volume) == (Decimal("2"), Decimal("18.5"))


def test_a_closed_market_closes_what_it_had_counted_and_nothing_of_its_pause():
    klines = Klines(["BTCUSDT"])
    again_us = 3_600_000_000 + 30_000_000
    pushed = klines.pushes([trade(1, 0), trade(2, again_us), ticker(again_us + 40_000_000)])
    assert closed_of(pushed) == {
        ("BTCUSDT", 0): (1, 1, 1),
        ("BTCUSDT", 3_600_000_000): (2, 2, 1),
    }


def test_a_minute_of_which_nobody_knows_the_beginning_is_not_closed():
    klines = Klines(["BTCUSDT"])
    klines.resume(KlineState(begins_whole=False))
    pushed = klines.pushes([trade(5, 30_000_000), trade(6, 70_000_000), ticker(130_000_000)])
    assert closed_of(pushed) == {("BTCUSDT", MINUTE_US): (6, 6, 1)}


@pytest.mark.parametrize(("unit", "per_us"), [(TimeUnit.MICROSECOND, 1), (TimeUnit.MILLISECOND, 1_000)])
def test_a_kline_is_written_as_the_venue_writes_it(unit, per_us):
    kline = Kline(
        *(0, "BTCUSDT", 7, 9, 3, "1.00000000", "3.00000000", "0.50000000", "2.00000000"),
        *(Decimal("1.5"), Decimal("2.25"), Decimal("1"), Decimal("1e1")),
        *(kline_stream("BTCUSDT"), 62_000_000, MINUTE_US, True),
    )
    frame = json.loads(frame_text(kline, FrameFormat(True, unit)))
    assert frame["stream"] == "btcusdt@kline_1m"
    assert frame["data"] == {
        "e": "kline",
        "E": 62_000_000 // per_us,
        "s": "BTCUSDT",
        "k": {
            "t": 0,
            "T": MINUTE_US // per_us - 1,
            "s": "BTCUSDT",
            "i": "1m",
            "f": 7,
            "L": 9,
            "o": "1.00000000",
            "c": "2.00000000",
            "h": "3.00000000",
            "l": "0.50000000",
            "v": "1.50000000",
            "n": 3,
            "x": True,
            "q": "2.25000000",
            "V": "1.00000000",
            "Q": "10.00000000",
            "B": "0",
        },
    }


def test_klines_of_a_run_that_was_stopped_go_on_and_count_what_faults_disturbed(tmp_path):
    faults = FrameFaults(repeat_share=0.2, swap_share=0.2, malformed_interval_seconds=5)
    clock = [START_US]

    async def scenario():
        frames = []
        for _ in range(3):  # each is stopped somewhere in a minute
            async with running(tmp_path, generator(), faults=faults, now_us=lambda: clock[0]) as venue:
                socket = await venue.connect(f"/stream?streams={ALL}&timeUnit=MICROSECOND")
                other = await venue.connect("/ws/btcusdt@bookTicker")
                for _ in range(400):
                    await receive_json(other)
                rest = asyncio.gather(receive_until_closed(socket), receive_until_closed(other))
                await venue.simulator.stop()
                texts, _ = await rest
            frames += [json.loads(text) for text in texts if '"e":"kline"' in text]
        return frames

    frames = asyncio.run(scenario())
    lines = [line for line in journal_lines(tmp_path) if "seq" in line]
    times = {(line["symbol"], line["id"]): line["T"] for line in lines if line["kind"] == "trade"}
    truth = Counter((symbol, time_us // MINUTE_US * MINUTE_US) for (symbol, _), time_us in times.items())
    said = [line for line in lines if line["kind"] == "kline"]
    closed = {(one["symbol"], one["t"]): (one["f"], one["L"], one["n"]) for one in said if one["x"]}
    assert len(closed) >= 3 * len(SYMBOLS)
    for (symbol, start_us), (first, last, count) in closed.items():
        assert count == truth[symbol, start_us]
        if count:
            assert count == last - first + 1
            assert {times[symbol, number] // MINUTE_US * MINUTE_US for number in range(first, last + 1)} == {
                start_us
            }
    received = [frame["data"]["k"] for frame in frames]
    assert {(one["s"], one["t"]): (one["f"], one["L"], one["n"]) for one in received if one["x"]} == closed
    assert any(not one["x"] for one in received)
