"""A predicate is the same predicate after it went over a connection, or it is refused with its field."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market import decimals
from seamark.market.predicate import Clock, Comparison, Filter, Predicate, PredicateInvalid, filter_of
from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.predicates import clock_from_proto, clock_to_proto, from_proto, to_proto
from seamark.rpc.v1 import predicate_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)


def texts(arrow):
    """What a user may write for a column of this type."""
    if pa.types.is_string(arrow):
        return TEXT
    if pa.types.is_decimal(arrow):
        return st.integers(1 - decimals.LIMIT, decimals.LIMIT - 1).map(decimals.text)
    return st.integers(-(2 ** (arrow.bit_width - 1)), 2 ** (arrow.bit_width - 1) - 1).map(str)


@st.composite
def filters(draw, kind):
    field = draw(st.sampled_from([one for one in row_schema(kind) if not pa.types.is_nested(one.type)]))
    comparison = draw(st.sampled_from(Comparison))
    most = 4 if comparison is Comparison.IN else 1
    values = draw(st.lists(texts(field.type), min_size=1, max_size=most))
    return filter_of(kind, field.name, comparison, tuple(values))


@st.composite
def questions(draw):
    """(kind, predicate)"""
    kind = draw(st.sampled_from(RecordKind))
    times = sorted(draw(st.sets(INT64, min_size=2, max_size=2)))
    return kind, Predicate(
        symbols=tuple(draw(st.lists(TEXT, max_size=3))),
        clock=Clock.EVENT if kind is RecordKind.FEED_EVENTS else draw(st.sampled_from(Clock)),
        from_us=draw(st.sampled_from([None, times[0]])),
        to_us=draw(st.sampled_from([None, times[1]])),
        filters=tuple(draw(st.lists(filters(kind), max_size=3))),
        known_at_us=draw(st.none() | INT64),
    )


@settings(deadline=None)
@given(questions())
def test_a_predicate_comes_back_as_it_was(question):
    kind, predicate = question
    wire = to_proto(predicate).SerializeToString()
    assert from_proto(kind, predicate_pb2.Predicate.FromString(wire)) == predicate


def test_a_columns_name_says_its_type_in_every_table():
    types = {(field.name, field.type) for kind in RecordKind for field in row_schema(kind)}
    assert len(types) == len({name for name, _ in types})


def test_a_value_is_readable_on_the_wire():
    price = filter_of(RecordKind.TRADES, "price", Comparison.IN, ("61837.63000000", "-0.5"))
    time = Filter("timestamp", Comparison.GE, (1_700_000_000_000_000,))
    sent = to_proto(Predicate(filters=(price, time)))
    assert [list(one.values) for one in sent.filters] == [["61837.63", "-0.5"], ["1700000000000000"]]


def test_zero_is_a_time_and_nothing_is_none():
    assert from_proto(RecordKind.TRADES, predicate_pb2.Predicate()) == Predicate()
    zero = Predicate(from_us=0, to_us=1, known_at_us=0)
    assert from_proto(RecordKind.TRADES, to_proto(zero)) == zero


def test_a_clock_that_is_not_set_is_the_events():
    assert clock_from_proto(predicate_pb2.CLOCK_UNSPECIFIED) is Clock.EVENT
    assert [clock_from_proto(clock_to_proto(clock)) for clock in Clock] == list(Clock)


def test_every_number_of_the_contract_has_a_meaning():
    for enum in (predicate_pb2.Comparison, predicate_pb2.Clock):
        assert [number for name, number in enum.items() if name.endswith("_UNSPECIFIED")] == [0]
    known = [number for number in predicate_pb2.Comparison.values() if number]
    asked = [
        predicate_pb2.Predicate(
            filters=[predicate_pb2.Filter(column="symbol", comparison=number, values=["A"])]
        )
        for number in known
    ]
    given = {from_proto(RecordKind.TRADES, one).filters[0].comparison for one in asked}
    assert given == set(Comparison) and len(known) == len(Comparison)


def asks(column="price", comparison=predicate_pb2.COMPARISON_EQ, values=("1",)):
    filter_ = predicate_pb2.Filter(column=column, comparison=comparison, values=values)
    return predicate_pb2.Predicate(filters=[filter_])


@pytest.mark.parametrize(
    ("message", "field", "says"),
    [
        (asks(column="prize"), "filters.prize", "column was 'prize', must be one of stream_id"),
        (asks(comparison=0), "filters.price", "comparison of 'price' was 0, must be one of 1 (EQ)"),
        (asks(comparison=99), "filters.price", "comparison of 'price' was 99, must be one of 1 (EQ)"),
        (asks(values=[]), "filters.price", "values of price were 0, must be 1"),
        (asks(values=["1", "2"]), "filters.price", "values of price were 2, must be 1"),
        (asks(values=["1e3"]), "filters.price", "value of price was '1e3'"),
        (asks(column="trade_conditions"), "filters.trade_conditions", "must not be a list"),
        (
            predicate_pb2.Predicate.FromString(b"\x10\x09"),
            "clock",
            "clock was 9, must be one of 1 (EVENT), 2 (RECEIVE)",
        ),
        (predicate_pb2.Predicate(from_us=2, to_us=2), "start", "start was 2, must be before end"),
        (predicate_pb2.Predicate(symbols=["A"] * 1001), "symbols", "symbols were 1001, must be at most 1000"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(message, field, says):
    with pytest.raises(PredicateInvalid) as refused:
        from_proto(RecordKind.TRADES, message)
    assert refused.value.field == field
    assert says in str(refused.value)


def test_a_clock_that_the_table_does_not_have_is_refused():
    with pytest.raises(PredicateInvalid, match="feed_events have no ingestion_timestamp") as refused:
        from_proto(RecordKind.FEED_EVENTS, to_proto(Predicate(clock=Clock.RECEIVE)))
    assert refused.value.field == "clock"
