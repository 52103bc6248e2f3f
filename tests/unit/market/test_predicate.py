"""A predicate means the same rows wherever it is held against them."""

from decimal import Decimal

import polars as pl
import pytest

from corpus.trades import trade
from corpus.wire import long, some, text
from seamark.market.predicate import (
    MAX_FILTERS,
    MAX_VALUES,
    Clock,
    Comparison,
    Predicate,
    PredicateInvalid,
    filter_of,
)
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder

TRADES = RecordKind.TRADES


def rows():
    values = [
        trade(symbol=text(symbol), timestamp=long(time_us), source_sequence=some(long(number)))
        for symbol, time_us, number in [("A", 10, 1), ("B", 20, 2), ("A", 30, 3), ("C", 40, 4)]
    ]
    prices = pl.Series("price", [Decimal("1"), Decimal("1.5"), Decimal("99999999999999999.5"), Decimal("-2")])
    frame = Decoder(TRADES).decode(values).rows
    return frame.with_columns(
        prices.cast(pl.Decimal(28, 10)),
        kafka_timestamp=pl.Series([10, 20, 30, 40]).cast(pl.Datetime("us", "UTC")),
        native_id=pl.Series(["x", None, "y", None]),
    )


def matching(predicate):
    expression = predicate.expression()
    frame = rows()
    return (frame if expression is None else frame.filter(expression))["source_sequence"].to_list()


def where(column, comparison, *values):
    return Predicate(filters=(filter_of(TRADES, column, comparison, values),))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (Predicate(), [1, 2, 3, 4]),
        (Predicate(symbols=("A",)), [1, 3]),
        (Predicate(symbols=("A", "C", "ZZ")), [1, 3, 4]),
        (Predicate(from_us=20, to_us=40), [2, 3]),
        (Predicate(clock=Clock.RECEIVE, to_us=0), []),
        (Predicate(known_at_us=20), [1, 2]),
        (where("price", Comparison.EQ, "1.50"), [2]),
        (where("price", Comparison.NE, "1"), [2, 3, 4]),
        (where("price", Comparison.LT, "1"), [4]),
        (where("price", Comparison.LE, "1"), [1, 4]),
        (where("price", Comparison.GT, "99999999999999999.4"), [3]),
        (where("price", Comparison.GE, "99999999999999999.5"), [3]),
        (where("price", Comparison.IN, "1", "-2"), [1, 4]),
        (where("symbol", Comparison.GT, "A"), [2, 4]),
        (where("native_id", Comparison.EQ, "x"), [1]),
        (where("native_id", Comparison.NE, "x"), [3]),
        (where("timestamp", Comparison.GE, "30"), [3, 4]),
        (where("source_sequence", Comparison.IN, "4", "1"), [1, 4]),
    ],
)
def test_a_predicate_keeps_the_rows_that_match_all_of_it(predicate, expected):
    assert matching(predicate) == expected


def test_the_columns_of_a_predicate_are_all_that_it_looks_at():
    predicate = Predicate(
        symbols=("A",),
        clock=Clock.RECEIVE,
        from_us=0,
        known_at_us=1,
        filters=where("price", Comparison.GT, "0").filters,
    )
    assert predicate.columns == {"symbol", "ingestion_timestamp", "kafka_timestamp", "price"}
    assert set(predicate.expression().meta.root_names()) == predicate.columns


@pytest.mark.parametrize(
    ("column", "comparison", "values", "message"),
    [
        ("prize", Comparison.EQ, ("1",), "column was 'prize', must be one of stream_id"),
        ("price", Comparison.EQ, ("1e5",), "value of price was '1e5', must be digits"),
        ("price", Comparison.EQ, ("1.00000000001",), "must be at most 10 decimals"),
        ("price", Comparison.EQ, (), "values of price were 0, must be 1"),
        ("price", Comparison.EQ, ("1", "2"), "values of price were 2, must be 1"),
        ("price", Comparison.IN, (), f"must be 1 to {MAX_VALUES}"),
        ("timestamp", Comparison.LT, ("2024-01-01",), "must be a whole number"),
        ("kafka_partition", Comparison.EQ, (str(2**31),), "must fit 32 bits"),
        ("trade_conditions", Comparison.EQ, ("x",), "must not be a list"),
    ],
)
def test_a_filter_that_no_row_could_be_held_against_is_refused(column, comparison, values, message):
    with pytest.raises(PredicateInvalid, match="(?s)" + message.replace("(", r"\(")) as refused:
        filter_of(TRADES, column, comparison, values)
    assert refused.value.field == f"filters.{column}"


def test_ranges_and_lists_have_bounds():
    with pytest.raises(PredicateInvalid, match="start was 5, must be before end"):
        Predicate(from_us=5, to_us=5)
    with pytest.raises(PredicateInvalid, match="symbols were 1001"):
        Predicate(symbols=tuple(map(str, range(MAX_VALUES + 1))))
    with pytest.raises(PredicateInvalid, match="filters were 33"):
        Predicate(filters=where("price", Comparison.EQ, "1").filters * (MAX_FILTERS + 1))
