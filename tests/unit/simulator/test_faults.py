"""Repeats, swaps and malformed frames, as a plan."""

import json
from collections import Counter

import pytest

from seamark.simulator.events import Malformed, Scheduled, Trade
from seamark.simulator.faults import Fault, FaultInjector, FrameFaults
from seamark.simulator.wire import FrameFormat, TimeUnit, frame_text

RAW = FrameFormat(combined=False, time_unit=TimeUnit.MICROSECOND)


def trade(number, due_us, symbol="BTCUSDT"):
    return Scheduled(
        due_us, Trade(symbol, f"{symbol.lower()}@trade", number, "61837.63", "0.02", due_us, due_us, True)
    )


def market(count, apart_us=1_000):
    return [trade(n // 2, n * apart_us, ("BTCUSDT", "ETHUSDT")[n % 2]) for n in range(count)]


def apply(faults, chunk, seed=1):
    injector = FaultInjector(faults, seed)
    return [e for start in range(0, len(chunk), 1_024) for e in injector.apply(chunk[start : start + 1_024])]


def counts(emissions):
    return Counter(emission.fault for emission in emissions)


def test_without_faults_the_plan_is_the_market():
    chunk = market(2_000)
    assert [(e.due_us, e.event) for e in apply(FrameFaults(0, 0, 0), chunk)] == chunk


def test_every_event_is_sent_at_least_once_and_never_early():
    chunk = market(5_000)
    emissions = apply(FrameFaults(0.1, 0.1, 1), chunk)
    due = {(event.symbol, event.trade_id): due_us for due_us, event in chunk}
    good = [e for e in emissions if e.fault is not Fault.MALFORMED]
    assert {(e.event.symbol, e.event.trade_id) for e in good} == set(due)
    for emission in good:
        late_us = emission.due_us - due[emission.event.symbol, emission.event.trade_id]
        assert 0 <= late_us <= 400_000  # held back, then repeated
    assert [e.due_us for e in emissions] == sorted(e.due_us for e in emissions)
    assert emissions[-1].due_us == chunk[-1].due_us


@pytest.mark.parametrize("fault", [Fault.REPEATED, Fault.SWAPPED])
def test_the_asked_share_of_trades_is_disturbed(fault):
    chunk = market(100_000)
    share = 0.01
    faults = FrameFaults(
        repeat_share=share if fault is Fault.REPEATED else 0,
        swap_share=share if fault is Fault.SWAPPED else 0,
        malformed_interval_seconds=0,
    )
    assert counts(apply(faults, chunk))[fault] == pytest.approx(share * len(chunk), rel=0.1)


def test_the_share_holds_where_many_trades_cannot_be_swapped():
    apart = [0, 0, 500_000]  # two of three have no successor within the window
    due_us, chunk = 0, []
    for number in range(30_000):
        due_us += apart[number % 3]
        chunk.append(trade(number, due_us))
    faults = FrameFaults(repeat_share=0, swap_share=0.01, malformed_interval_seconds=0)
    assert counts(apply(faults, chunk))[Fault.SWAPPED] == pytest.approx(300, rel=0.15)


def test_a_swapped_trade_follows_the_next_of_its_symbol_within_the_window():
    emissions = apply(FrameFaults(0, 0.2, 0), market(4_000, apart_us=70_000))
    assert counts(emissions)[Fault.SWAPPED] > 200
    for symbol in ("BTCUSDT", "ETHUSDT"):
        ids = [e.event.trade_id for e in emissions if e.event.symbol == symbol]
        swaps = [n for n, (a, b) in enumerate(zip(ids, ids[1:], strict=False)) if b < a]
        assert all(ids[n] == ids[n + 1] + 1 for n in swaps)
    apart_too_far = market(4_000, apart_us=150_000)
    assert not counts(apply(FrameFaults(0, 0.2, 0), apart_too_far))[Fault.SWAPPED]


def test_malformed_frames_are_extra_and_come_once_an_interval():
    chunk = market(100_000)  # 100 s
    emissions = apply(FrameFaults(0, 0, 10), chunk)
    bad = [e for e in emissions if e.fault is Fault.MALFORMED]
    assert [e.due_us // 10_000_000 for e in bad] == list(range(1, 10))
    assert [(e.due_us, e.event) for e in emissions if e.fault is None] == chunk


def test_no_client_can_accept_a_malformed_frame():
    emissions = apply(FrameFaults(0, 0, 10), market(40_000))
    broken, unrepresentable = [e.event for e in emissions if isinstance(e.event, Malformed)][:2]
    with pytest.raises(json.JSONDecodeError):
        json.loads(frame_text(broken, RAW))
    price = json.loads(frame_text(unrepresentable, RAW))["p"]
    assert len(price.split(".")[1].rstrip("0")) > 10


def test_equal_seeds_give_equal_faults():
    chunk = market(3_000)
    faults = FrameFaults(0.05, 0.05, 1)
    assert apply(faults, chunk, seed=4) == apply(faults, chunk, seed=4)
    assert apply(faults, chunk, seed=4) != apply(faults, chunk, seed=5)
