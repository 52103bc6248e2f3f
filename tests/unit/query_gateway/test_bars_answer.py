"""Bars say what the legs have said of them: provisional, final, revised; by the definition, at E."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.query_gateway.finality_index import FinalityIndex
from seamark.query_gateway.question import AsKnownAt, AtCursor, AtSnapshot, BarsQuestion
from seamark.query_gateway.running import Call
from unit.query_gateway.market import EVENTS, SECOND, SYMBOLS, TRADES, Market
from unit.query_gateway.tables import NOW_US


@pytest.fixture
def market():
    made = Market()
    yield made
    made.close()


TRADE = st.tuples(st.just("trade"), st.sampled_from(SYMBOLS), st.integers(-4, 1), st.integers(1, 9))
PROGRESS = st.tuples(
    st.just("progress"), st.sampled_from("ab"), st.sampled_from([0, 0, 1]), st.sampled_from([0, 0, 0, 1])
)
ASK = st.tuples(st.just("ask"), st.sampled_from(SYMBOLS), st.just(0), st.just(0))
STEPS = st.lists(
    st.one_of(
        *[TRADE] * 4,
        *[PROGRESS] * 4,
        ASK,
        st.tuples(st.just("session"), st.sampled_from("ab"), st.booleans(), st.just(0)),
        st.tuples(st.just("commit"), st.sampled_from([TRADES, EVENTS]), st.booleans(), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 11]), st.just(0), st.just(0)),
    ),
    min_size=25,
    max_size=50,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_every_state_is_that_of_the_definition(steps):
    market, sessions, venue = Market(), {"a": 1, "b": 1}, {"a": 0, "b": 0}
    tables = market.tables
    try:
        for what, subject, first, second in [*steps, ("ask", "AAA", 0, 0), ("ask", "BBB", 0, 0)]:
            tables.now_us += SECOND // 2
            if what == "trade":
                market.trade(subject, max(NOW_US, tables.now_us + first * SECOND), second)
            elif what == "progress":
                venue[subject] = max(venue[subject], tables.now_us - first * SECOND)
                market.say("PROGRESS", subject, sessions[subject], venue[subject], second)
            elif what == "session":
                if first:
                    market.say("SESSION_CLOSED", subject, sessions[subject])
                sessions[subject] += 1
                venue[subject] = 0
                market.say("SESSION_OPENED", subject, sessions[subject])
            elif what == "commit":
                tables.commit(subject)
                if first:
                    tables.pin()
            elif what == "wait":
                tables.now_us += subject * SECOND
            else:
                header, bars = market.bars(subject, seconds=60)
                assert header.exact
                assert bars == market.by_hand(subject, seconds=60)
    finally:
        market.close()


def settled_market(market):
    """A bar of second 0 that is final, one of second 1 that is revised, one of second 5 that is provisional."""
    market.say("SESSION_OPENED")
    market.trade("AAA", NOW_US)
    market.tables.now_us += 4 * SECOND
    market.trade("AAA", NOW_US + SECOND)
    market.say("PROGRESS", venue_us=NOW_US + 4 * SECOND)
    market.tables.now_us += SECOND
    market.trade("AAA", NOW_US + SECOND + 1)
    market.trade("AAA", NOW_US + 5 * SECOND)
    return ["final", "revised", "provisional"]


def states(bars):
    return [bar[3] for bar in bars]


def test_bars_are_final_revised_or_provisional(market):
    expected = settled_market(market)
    assert states(market.bars()[1]) == states(market.by_hand()) == expected


def test_a_bar_that_is_cut_by_the_range_is_provisional(market):
    settled_market(market)
    assert states(market.bars(from_us=NOW_US - 1, to_us=NOW_US + SECOND)[1]) == ["final"]
    for cut in ({"from_us": NOW_US + 1}, {"to_us": NOW_US + SECOND - 1}, {"interval": "1m"}):
        market.trade("AAA", NOW_US + 7)
        assert states(market.bars(**cut)[1])[0] == "provisional"


def test_an_earlier_vector_has_the_states_of_its_time(market):
    settled_market(market)
    header, before = market.bars()
    market.tables.now_us += 6 * SECOND
    market.say("PROGRESS", venue_us=NOW_US + 10 * SECOND)
    assert states(market.bars()[1]) == ["final", "revised", "final"]
    assert market.bars(consistency=AtCursor(header.cursor))[1] == before
    for kind in (TRADES, EVENTS):
        market.tables.commit(kind)
    market.tables.pin()
    assert market.bars(consistency=AtCursor(header.cursor))[1] == before
    assert states(market.bars()[1]) == ["final", "revised", "final"]


def test_what_was_known_then_has_the_states_of_then(market):
    settled_market(market)
    then_us = NOW_US + 4 * SECOND
    market.tables.now_us += 20 * SECOND
    _, bars = market.bars(consistency=AsKnownAt(then_us))
    assert bars == market.by_hand(until_us=then_us)
    assert states(bars) == ["final", "final"]


def test_a_bar_is_not_final_before_all_that_the_legs_meant_is_in_the_answer(market):
    market.trade("AAA", NOW_US)
    market.tables.commit(TRADES)
    market.tables.pin()
    snapshot = market.tables.lakes[TRADES].head
    market.trade("AAA", NOW_US + 1)
    market.tables.now_us += 4 * SECOND
    market.say("PROGRESS", venue_us=NOW_US + 4 * SECOND)
    _, bars = market.bars(consistency=AtSnapshot(snapshot))
    assert [(bar[2], bar[3]) for bar in bars] == [(1, "provisional")]
    assert [(bar[2], bar[3]) for bar in market.bars()[1]] == [(2, "final")]


def test_the_shard_of_a_symbol_is_known_from_sessions_that_began_long_ago(market):
    market.say("SESSION_OPENED", shard=0, symbols=("BBB",))
    market.say("SESSION_OPENED", shard=1, symbols=("AAA",))
    market.tables.now_us += 7_200 * SECOND
    start = market.tables.now_us
    market.trade("AAA", start)
    market.trade("BBB", start)
    market.tables.now_us += 5 * SECOND
    market.say("PROGRESS", venue_us=start + 4 * SECOND, shard=1)
    market.say("PROGRESS", venue_us=start, shard=0)
    market.tables.commit(EVENTS)
    market.tables.pin()
    for _ in range(2):  # read anew, then from what is kept
        recent = {"from_us": start, "to_us": start + SECOND}
        assert states(market.bars("AAA", **recent)[1]) == ["final"]
        assert states(market.bars("BBB", **recent)[1]) == ["provisional"]


def test_rows_of_a_stream_that_has_ended_are_judged_by_its_place(market):
    """The topic has got a partition more: another stream, offsets go on."""
    settled_market(market)
    lake = market.tables.lakes[TRADES]
    market.tables.commit(TRADES)
    lake.log.grow(lake.topic)
    lake.adopt(succeeds=1)
    market.tables.pin()
    assert states(market.bars()[1]) == ["final", "revised", "provisional"]
    for _ in range(3):
        for symbol in SYMBOLS:
            market.trade(symbol, NOW_US + 5 * SECOND)
    market.tables.now_us += 6 * SECOND
    market.say("PROGRESS", venue_us=NOW_US + 10 * SECOND)
    assert states(market.bars()[1]) == ["final", "revised", "final"]


def test_a_bar_whose_rows_may_be_missing_is_not_final(market):
    settled_market(market)
    market.tables.tail_down, market.tables.log_down = {TRADES}, True
    market.tables.commit(TRADES)
    header, bars = market.bars()
    assert (header.exact, header.partial, bars) == (False, True, [])
    market.tables.pin()
    assert states(market.bars()[1]) == ["final", "revised", "provisional"]


def test_a_bar_of_which_the_first_rows_are_missing_is_not_final(market):
    market.trade("AAA", NOW_US)
    market.trade("AAA", NOW_US + 1)
    market.tables.now_us += 4 * SECOND
    market.say("PROGRESS", venue_us=NOW_US + 4 * SECOND)
    assert states(market.bars()[1]) == ["final"]
    market.tables.tail_lo[TRADES], market.tables.log_down = 1, True
    header, bars = market.bars()
    assert (header.exact, [bar[2:] for bar in bars]) == (False, [(1, "provisional")])


def test_events_that_were_missing_are_folded_when_they_come(market):
    """Without the slow leg's word all would look settled."""
    market.trade("AAA", NOW_US)
    market.tables.now_us += 4 * SECOND
    market.say("PROGRESS", "b", venue_us=NOW_US)
    market.say("PROGRESS", "a", venue_us=NOW_US + 4 * SECOND)
    market.tables.tail_lo[EVENTS], market.tables.log_down = 1, True
    header, bars = market.bars()
    assert (header.exact, states(bars)) == (False, ["provisional"])
    market.tables.log_down = False
    header, bars = market.bars()
    assert (header.exact, states(bars)) == (True, ["provisional"])
    market.tables.now_us += SECOND
    market.say("PROGRESS", "b", venue_us=NOW_US + 4 * SECOND)
    assert states(market.bars()[1]) == ["final"]


def test_a_market_that_no_leg_speaks_of_is_not_kept(market):
    settled_market(market)
    index = FinalityIndex(market.tables.opening)

    async def read(name, number):
        asked = BarsQuestion("binance", name, "AAA", NOW_US, NOW_US + SECOND, "1s")
        return await index.read(asked, "", Call(str(number), "test", "c"))

    for number in range(20):
        market.tables.run(read(f"invented{number}", number))
    assert len(index) == 0
    assert market.tables.run(read("spot", 0)).settled is not None
    assert len(index) == 1


def test_those_who_ask_together_have_one_reading_of_all_that_they_need(market):
    """Of different times and symbols, with one vector."""
    expected = settled_market(market)
    reads = []
    market.tables.meanwhile = reads.append

    async def many():
        call = Call("q", "test", "c")
        asked = [
            BarsQuestion("binance", "spot", "AAA", NOW_US - back * SECOND, NOW_US + 20 * SECOND, "1s")
            for back in range(10)
        ]
        answers = await asyncio.gather(*(market.tables.gateway.bars(one, call) for one in asked))
        return [
            [state async for batch in answer.batches for state in batch["state"].to_pylist()]
            for answer in answers
        ]

    assert market.tables.run(many()) == [expected] * 10
    assert reads.count(TRADES) == 10
    assert reads.count(EVENTS) <= 3


def test_bars_of_an_earlier_time_look_at_earlier_events(market):
    expected = settled_market(market)
    market.tables.now_us += 7_200 * SECOND
    start = market.tables.now_us
    market.trade("AAA", start)
    market.say("SESSION_OPENED", session=2)
    market.say("PROGRESS", session=2, venue_us=start)
    recent = {"from_us": start, "to_us": start + SECOND}
    assert states(market.bars(**recent)[1]) == ["provisional"]
    assert states(market.bars()[1]) == [*expected[:2], "final"]
    assert states(market.bars(**recent)[1]) == ["provisional"]


def test_a_market_without_trades_or_events_has_no_bars(market):
    header, bars = market.bars()
    assert (header.exact, bars) == (True, [])
    market.trade("AAA", NOW_US)
    assert states(market.bars()[1]) == ["provisional"]
