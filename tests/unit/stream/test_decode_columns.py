"""Decoded columns are those of the contract, in Avro, Arrow and Iceberg alike."""

from decimal import Context, Decimal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import schema_to_pyarrow

from corpus.corpora import CORPORA, good_record
from corpus.trades import trade
from corpus.wire import Verdict, long, some
from seamark.lake.schema import iceberg_schema
from seamark.market import decimals
from seamark.market.schema import (
    POSITION_FIELDS,
    RecordKind,
    arrow_schema,
    avro_schema,
    row_schema,
)
from seamark.stream.decode import Decoder
from seamark.stream.encode import Encoder
from seamark.stream.wire import FIXED_SCHEMA_IDS

EXACT = Context(prec=60)


def plain(arrow_type):
    """An Arrow type, whichever of its string and list layouts a library prefers."""
    if pa.types.is_large_string(arrow_type):
        return pa.string()
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        field = arrow_type.value_field
        return pa.list_(pa.field("element", plain(field.type), field.nullable))
    if pa.types.is_struct(arrow_type):
        return pa.struct([pa.field(field.name, plain(field.type), field.nullable) for field in arrow_type])
    return arrow_type


@pytest.mark.parametrize("kind", RecordKind)
def test_avro_arrow_and_iceberg_have_the_same_fields(kind):
    names = [field["name"] for field in avro_schema(kind)["fields"]]
    assert arrow_schema(kind).names == names
    positions = [field["name"] for field in POSITION_FIELDS]
    assert row_schema(kind).names == positions + names
    iceberg = schema_to_pyarrow(iceberg_schema(kind), include_field_ids=False)
    assert [(field.name, plain(field.type), field.nullable) for field in iceberg] == [
        (field.name, plain(field.type), field.nullable) for field in row_schema(kind)
    ]
    nullable = {field["name"]: isinstance(field["type"], list) for field in avro_schema(kind)["fields"]}
    assert {field.name: field.nullable for field in arrow_schema(kind)} == nullable


@pytest.mark.parametrize("kind", RecordKind)
def test_iceberg_field_ids_are_distinct(kind):
    ids = sorted(iceberg_schema(kind).field_ids)
    assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("kind", RecordKind)
def test_decoded_columns_cast_to_the_arrow_schema_without_loss(kind):
    values = [case.value for case in CORPORA[kind.value] if case.verdict is Verdict.ACCEPT]
    rows = Decoder(kind).decode(values).rows
    assert len(rows) == len(values)
    table = rows.to_arrow().select(arrow_schema(kind).names).cast(arrow_schema(kind))
    # An enum is text to Arrow; all else is what it was.
    text = pl.DataFrame(rows.with_columns(pl.col(pl.Categorical).cast(pl.String)))
    assert pl.DataFrame(pl.from_arrow(table)).equals(text.cast(pl.DataFrame(pl.from_arrow(table)).schema))


@pytest.mark.parametrize("kind", RecordKind)
def test_only_enums_are_categories(kind):
    rows = Decoder(kind).decode([good_record(kind.value)]).rows
    enums = [
        field["name"]
        for field in avro_schema(kind)["fields"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "enum"
    ]
    assert [name for name, dtype in rows.schema.items() if dtype == pl.Categorical] == enums


def venue_texts():
    """Decimals as venues write them, up to 18 digits before the point and 10 behind it."""
    whole = st.integers(0, 10**18 - 1).map(str)
    fraction = st.text("0123456789", max_size=10).map(lambda digits: f".{digits}" if digits else "")
    return st.builds("{}{}{}".format, st.sampled_from(["", "-"]), whole, fraction)


@settings(max_examples=60, deadline=None)
@given(st.lists(venue_texts(), min_size=1, max_size=40))
@example(["0", "-0", "0.0000000000", "-0.0000000001", "0.0000000001"])
@example(["999999999999999999.9999999999", "-999999999999999999.9999999999", "999999999999999999"])
@example(["61837.63000000", "100000000000000000", "0.1", "-1.5000000000"])
def test_a_decimal_is_exact_from_the_venues_text_to_the_decoded_value(texts):
    encoder = Encoder(RecordKind.TRADES, FIXED_SCHEMA_IDS[RecordKind.TRADES])
    frames = [
        encoder.encode(
            {
                "exchange": "binance",
                "market": "spot",
                "feed": "trade",
                "symbol": "BTCUSDT",
                "source_sequence": number,
                "timestamp": 0,
                "ingestion_timestamp": 0,
                "price": decimals.to_bytes(decimals.parse(text, "price")),
                "quantity": decimals.to_bytes(-decimals.parse(text, "quantity")),
                "currency": "USDT",
                "side": "BUY",
                "origin": "STREAM",
            }
        )
        for number, text in enumerate(texts)
    ]
    decoded = Decoder(RecordKind.TRADES).decode(frames)
    assert not decoded.rejects
    assert decoded.rows["price"].to_list() == [Decimal(text) for text in texts]
    assert decoded.rows["quantity"].to_list() == [EXACT.minus(Decimal(text)) for text in texts]


def test_times_and_ids_at_their_ends_are_exact():
    greatest = 7_258_118_399_999_999
    values = [
        trade(timestamp=long(0), source_sequence=some(long(0))),
        trade(timestamp=long(greatest), source_sequence=some(long(2**63 - 1))),
    ]
    rows = Decoder(RecordKind.TRADES).decode(values).rows
    assert rows["timestamp"].to_physical().to_list() == [0, greatest]
    assert rows["source_sequence"].to_list() == [0, 2**63 - 1]
