"""Each trade gets the quote that stood when it happened, by one clock."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.predicate import Clock
from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import batches_of
from seamark.query_gateway.as_of import AS_OF_SCHEMA, _joined
from seamark.query_gateway.errors import Invalid, TooCostly
from seamark.query_gateway.opening import Limits
from seamark.query_gateway.question import AsOfQuestion, AtCursor, Latest, MinOffsets
from unit.query_gateway.rows import rows_of
from unit.query_gateway.tables import NOW_US, Tables

TRADES, QUOTES = RecordKind.TRADES, RecordKind.QUOTES
DAY_US = 86_400_000_000
TIMES = st.one_of(st.integers(0, 12), st.sampled_from([DAY_US, DAY_US + 5, 2 * DAY_US]))
ROW = st.fixed_dictionaries(
    {
        "exchange": st.sampled_from(["binance", "kraken"]),
        "market": st.sampled_from(["spot", "usdm"]),
        "symbol": st.sampled_from(["AAA", "BBB"]),
        "timestamp": TIMES,
        "ingestion_timestamp": TIMES,
        "source_sequence": st.none() | st.integers(0, 3),
    }
)
ROWS = st.lists(ROW, max_size=25).map(
    lambda rows: [row | {"stream_id": 1, "kafka_offset": at} for at, row in enumerate(rows)]
)


def total_order(row):
    sequence = row["source_sequence"]
    return (
        row["timestamp"],
        row["exchange"],
        row["market"],
        row["symbol"],
        sequence is None,
        sequence or 0,
        row["kafka_offset"],
    )


def by_hand(trades, quotes, clock, tolerance_us):
    """For each trade the quote of its instrument that is not later and not too old, the last in the order."""
    found = []
    for trade in trades:
        best = None
        for quote in quotes:
            same = all(quote[name] == trade[name] for name in ("exchange", "market", "symbol"))
            age_us = trade[clock] - quote[clock]
            if not same or not 0 <= age_us <= (tolerance_us or DAY_US):
                continue
            if best is None or (quote[clock], total_order(quote)) > (best[clock], total_order(best)):
                best = quote
        found.append((trade["kafka_offset"], None if best is None else best["kafka_offset"]))
    return found


def question(clock=Clock.RECEIVE, tolerance_us=0, allow=False):
    return AsOfQuestion(("AAA", "BBB"), 0, 3 * DAY_US, clock, tolerance_us, allow)


def frames(trades, quotes, categorical=(False, False), source="VENUE"):
    # Prices tell quotes apart.
    priced = [quote | {"bid_price": quote["kafka_offset"], "timestamp_source": source} for quote in quotes]
    return (
        rows_of(TRADES, sorted(trades, key=total_order), categorical[0]),
        rows_of(QUOTES, sorted(priced, key=total_order), categorical[1]) if quotes else None,
    )


@settings(deadline=None, max_examples=200)
@given(
    ROWS,
    ROWS,
    st.sampled_from(Clock),
    st.sampled_from([0, 1, 3, DAY_US]),
    st.tuples(st.booleans(), st.booleans()),
)
def test_each_trade_has_the_last_quote_that_stood(trades, quotes, clock, tolerance_us, categorical):
    given_trades, given_quotes = frames(trades, quotes, categorical)
    joined = _joined(question(clock, tolerance_us), given_trades, given_quotes)
    expected = by_hand(sorted(trades, key=total_order), quotes, clock.value, tolerance_us)
    if not trades:
        assert joined is None
        return
    bids = [None if bid is None else int(bid) for bid in joined["bid_price"].to_list()]
    assert list(zip(joined["kafka_offset"].to_list(), bids, strict=True)) == expected
    quoted = {quote["kafka_offset"]: quote for quote in quotes}
    times = [None if bid is None else quoted[bid][clock.value] for bid in bids]
    assert joined["quote_time"].to_physical().to_list() == times
    assert joined["quote_sequence"].to_list() == [
        None if bid is None else quoted[bid]["source_sequence"] for bid in bids
    ]
    # What was joined is an answer.
    assert sum(batch.num_rows for batch in batches_of(joined, AS_OF_SCHEMA)) == len(trades)


TRADE = {"timestamp": 5, "ingestion_timestamp": 5, "kafka_offset": 0, "source_sequence": 1}
QUOTE = TRADE | {"timestamp": 4, "ingestion_timestamp": 4}


def test_event_time_is_refused_where_quotes_carry_receive_time():
    given_trades, given_quotes = frames([_full(TRADE)], [_full(QUOTE)], source="RECEIVE")
    with pytest.raises(Invalid, match="clock was event") as caught:
        _joined(question(Clock.EVENT), given_trades, given_quotes)
    assert caught.value.field == "clock"
    for allowed in (question(Clock.RECEIVE), question(Clock.EVENT, allow=True)):
        assert _joined(allowed, given_trades, given_quotes)["bid_price"].to_list() == [Decimal(0)]


def _full(row):
    return {"exchange": "binance", "market": "spot", "symbol": "AAA"} | row


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("start", {"from_us": 5, "to_us": 5}),
        ("tolerance_us", {"tolerance_us": -1}),
        ("tolerance_us", {"tolerance_us": DAY_US + 1}),
        ("limit", {"limit": -1}),
    ],
)
def test_a_question_that_means_nothing_is_refused(field, values):
    with pytest.raises(Invalid) as caught:
        AsOfQuestion(**{"symbols": ("AAA",), "from_us": 0, "to_us": 1} | values)
    assert caught.value.field == field


# Over tables


@pytest.fixture
def tables():
    made = Tables()
    made.now_us = NOW_US + 10 * DAY_US
    yield made
    made.runner.close()


def happen(tables, kind, *at_us, symbol="AAA", **values):
    for us in at_us:
        times = {"timestamp": NOW_US + us, "ingestion_timestamp": NOW_US + us}
        number = len(tables.appended[kind])
        tables.append(kind, symbol, symbol=symbol, source_sequence=number, **times, **values)


def joined(tables, from_us, to_us, **more):
    """Receive times of trades and of the quotes that stood, since NOW_US."""
    asked = AsOfQuestion(("AAA", "BBB"), NOW_US + from_us, NOW_US + to_us, **more)
    header, table = tables.ask(lambda call: tables.gateway.as_of(asked, call))
    assert table.schema == AS_OF_SCHEMA
    frame = pl.DataFrame(table).select(pl.col("ingestion_timestamp", "quote_time").to_physical() - NOW_US)
    return header, frame.rows()


HOUR_US = 3_600_000_000


@pytest.mark.parametrize("age_us", [0, 59_000_000, 61_000_000, HOUR_US + 1, DAY_US, DAY_US + 1])
@pytest.mark.parametrize("committed", [False, True])
def test_a_quote_is_found_as_far_back_as_a_day(tables, age_us, committed):
    start = 2 * DAY_US
    happen(tables, QUOTES, start - age_us, bid_price=1)
    happen(tables, TRADES, start)
    if committed:
        tables.commit(QUOTES)
        tables.pin()
    header, rows = joined(tables, start, start + 1)
    assert header.exact
    assert rows == [(start, start - age_us if age_us <= DAY_US else None)]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 3 * 24), max_size=8),
    st.lists(st.tuples(st.integers(0, 3 * 24), st.booleans()), max_size=8),
    st.sampled_from([0, 2 * HOUR_US]),
    st.integers(0, 3),
)
def test_answers_do_not_depend_on_the_range_that_was_asked(trades, quotes, tolerance_us, limit):
    """Whoever asks for a trade alone sees the quote that he sees who asks for three days."""
    tables = Tables()
    try:
        tables.now_us = NOW_US + 10 * DAY_US
        happen(tables, TRADES, *(hour * HOUR_US for hour in trades))
        for hour, commit in quotes:
            happen(tables, QUOTES, hour * HOUR_US)
            if commit:
                tables.commit(QUOTES)
                tables.pin()
        _, whole = joined(tables, 0, 4 * DAY_US, tolerance_us=tolerance_us)
        expected = []
        for hour in sorted(trades):
            ages = [
                hour - quote for quote, _ in quotes if 0 <= hour - quote <= (tolerance_us // HOUR_US or 24)
            ]
            expected.append((hour * HOUR_US, (hour - min(ages)) * HOUR_US if ages else None))
        assert whole == expected
        _, first = joined(tables, 0, 4 * DAY_US, tolerance_us=tolerance_us, limit=limit)
        assert first == expected[: limit or None]
        for hour in set(trades):
            at_us = hour * HOUR_US
            _, alone = joined(tables, at_us, at_us + 1, tolerance_us=tolerance_us)
            assert alone == [row for row in expected if row[0] == at_us]
    finally:
        tables.runner.close()


def test_the_same_cursor_gives_the_same_quotes_later(tables):
    happen(tables, QUOTES, 0)
    happen(tables, TRADES, 5)
    header, rows = joined(tables, 0, 10)
    happen(tables, QUOTES, 3)
    happen(tables, TRADES, 6)
    assert joined(tables, 0, 10)[1] == [(5, 3), (6, 3)]
    for kind in (TRADES, QUOTES):
        tables.commit(kind)
    tables.pin()
    assert joined(tables, 0, 10, consistency=AtCursor(header.cursor))[1] == rows == [(5, 0)]


def test_quotes_that_come_while_older_ones_are_looked_for_are_not_in_the_answer(tables):
    """One E for all of an answer, however often the tail is asked."""
    happen(tables, TRADES, 2 * HOUR_US)
    happen(tables, QUOTES, 1)

    def come(kind):
        if kind is QUOTES:
            happen(tables, QUOTES, 2 * HOUR_US - 1_000)

    tables.meanwhile = come
    header, rows = joined(tables, 2 * HOUR_US, 3 * HOUR_US)
    assert rows == [(2 * HOUR_US, 1)]
    where = tables.place(QUOTES, "AAA")
    assert header.tables[1].end[where] == 1


def test_offsets_that_were_written_are_those_of_trades(tables):
    """Quotes have other offsets: to wait for these would be to wait for ever."""
    happen(tables, QUOTES, 0)
    happen(tables, TRADES, *range(5, 10))
    vector = {tables.place(TRADES, "AAA"): 5}
    for consistency in (MinOffsets(vector), Latest(vector)):
        header, rows = joined(tables, 0, 10, consistency=consistency)
        assert header.exact
        assert len(rows) == 5


def test_trades_without_any_quote_are_given_without(tables):
    happen(tables, TRADES, 5)
    assert joined(tables, 0, 10)[1] == [(5, None)]
    assert joined(tables, 20, 30)[1] == []


def test_only_what_still_lacks_a_quote_is_looked_for_further_back():
    tables = Tables(limits=Limits(join_rows=30))
    try:
        start = 2 * DAY_US
        happen(tables, QUOTES, *range(50))  # of a day and more ago
        happen(tables, QUOTES, *(start - 2 * HOUR_US + at for at in range(40)))
        happen(tables, QUOTES, start - 1)
        happen(tables, QUOTES, start - 3 * HOUR_US, symbol="BBB")
        happen(tables, TRADES, start)
        happen(tables, TRADES, start, symbol="BBB")
        tables.commit(QUOTES)
        tables.pin()
        _, rows = joined(tables, start, start + 1)
        assert rows == [(start, start - 1), (start, start - 3 * HOUR_US)]
        happen(tables, TRADES, start + HOUR_US)
        with pytest.raises(TooCostly, match=r"up to 41 quotes would be read .* at most 30: .* tolerance_us"):
            joined(tables, start + HOUR_US, start + HOUR_US + 1)
    finally:
        tables.runner.close()
