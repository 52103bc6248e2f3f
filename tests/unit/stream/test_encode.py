"""What a leg encodes, the full contract decodes to the same values."""

import io
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.market import decimals
from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.encode import Encoder
from seamark.stream.errors import RecordInvalid
from seamark.stream.wire import FIXED_SCHEMA_IDS, FRAME_BYTES, frame_prefix

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = Context(prec=60)


def raw_values(avro_type):
    """Strategy for values of an Avro type in raw form."""
    match avro_type:
        case ["null", other]:
            return st.none() | raw_values(other)
        case {"logicalType": "decimal"}:
            return st.integers(-(10**28) + 1, 10**28 - 1).map(decimals.to_bytes)
        case {"logicalType": "timestamp-micros"}:
            return st.integers(0, 7_258_118_399_999_999)
        case {"logicalType": "date"}:
            return st.integers(0, 84_000)
        case {"type": "enum", "symbols": symbols}:
            return st.sampled_from(symbols)
        case {"type": "array", "items": items}:
            return st.lists(raw_values(items), max_size=3)
        case {"type": "record", "fields": fields}:
            return st.fixed_dictionaries({f["name"]: raw_values(f["type"]) for f in fields})
        case "string":
            return st.text(st.characters(codec="utf-8"), max_size=20)
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
    raise AssertionError(f"no strategy for {avro_type!r}")


def meant(avro_type, raw):
    """The value that a raw one stands for."""
    match avro_type:
        case ["null", other]:
            return None if raw is None else meant(other, raw)
        case {"logicalType": "decimal"}:
            return EXACT.scaleb(Decimal(int.from_bytes(raw, "big", signed=True)), -10)
        case {"logicalType": "timestamp-micros"}:
            return EPOCH + timedelta(microseconds=raw)
        case {"logicalType": "date"}:
            return date(1970, 1, 1) + timedelta(days=raw)
        case {"type": "array", "items": items}:
            return [meant(items, one) for one in raw]
        case {"type": "record", "fields": fields}:
            return {f["name"]: meant(f["type"], raw[f["name"]]) for f in fields}
    return raw


TRADE = {
    "exchange": "binance",
    "market": "spot",
    "feed": "trade",
    "symbol": "BTCUSDT",
    "source_sequence": 3735683259,
    "timestamp": 1723161255342000,
    "ingestion_timestamp": 1723161255343000,
    "price": decimals.to_bytes(618376300000000),
    "quantity": decimals.to_bytes(200000000),
    "currency": "USDT",
    "side": "SELL",
    "origin": "STREAM",
}


@pytest.mark.parametrize("kind", RecordKind)
@given(data=st.data())
def test_the_full_contract_decodes_what_was_encoded(kind, data):
    schema = avro_schema(kind)
    encoder = Encoder(kind, FIXED_SCHEMA_IDS[kind])
    # Several in a row: nothing of a longer record may stay behind a shorter one.
    for record in data.draw(st.lists(raw_values(schema), min_size=1, max_size=4)):
        framed = encoder.encode(record)
        assert framed[:FRAME_BYTES] == frame_prefix(FIXED_SCHEMA_IDS[kind])
        body = io.BytesIO(framed[FRAME_BYTES:])
        assert fastavro.schemaless_reader(body, fastavro.parse_schema(dict(schema)), None) == meant(
            schema, record
        )
        assert body.read() == b""


@pytest.mark.parametrize("kind", RecordKind)
@given(data=st.data())
def test_fields_made_once_give_the_same_bytes(kind, data):
    schema = avro_schema(kind)
    types = {field["name"]: field["type"] for field in schema["fields"]}
    record = data.draw(raw_values(schema))
    nullable = [name for name, avro_type in types.items() if isinstance(avro_type, list)]
    constants = data.draw(st.sets(st.sampled_from(sorted(types))))
    never_null = [n for n in nullable if n not in constants and record[n] is not None]
    present = data.draw(st.sets(st.sampled_from(never_null))) if never_null else set()
    encoder = Encoder(kind, 7, {name: record[name] for name in constants}, present)
    varying = {name: value for name, value in record.items() if name not in constants}
    expected = Encoder(kind, 7).encode(record)
    assert encoder.encode(varying) == expected
    assert encoder.encode(varying) == expected


@pytest.mark.parametrize(
    ("constants", "present", "complaint"),
    [
        ({"symbl": "X"}, (), "trades has no field symbl"),
        ({}, ("sequence",), "trades has no field sequence"),
        ({"symbol": 7}, (), "symbol was 7"),
    ],
)
def test_constants_that_break_the_contract_are_refused_by_name(constants, present, complaint):
    with pytest.raises(RecordInvalid, match=complaint):
        Encoder(RecordKind.TRADES, 1, constants, present)


def test_a_refusal_names_the_field_where_others_are_constant():
    encoder = Encoder(RecordKind.TRADES, 1, {"symbol": "BTCUSDT"}, ["source_sequence"])
    varying = {name: value for name, value in TRADE.items() if name != "symbol"}
    with pytest.raises(RecordInvalid, match="price"):
        encoder.encode(varying | {"price": None})
    assert encoder.encode(varying) == Encoder(RecordKind.TRADES, 1).encode(TRADE)


def test_nullable_fields_may_be_absent():
    encoder = Encoder(RecordKind.TRADES, 1)
    absent = dict.fromkeys(["native_id", "published_timestamp", "trade_conditions", "correction_of"])
    assert encoder.encode(TRADE) == encoder.encode(TRADE | absent)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": None}, "price"),
        ({"price": 1.5}, "price"),
        ({"symbol": 7}, "symbol"),
        ({"timestamp": "now"}, "timestamp"),
        ({"source_sequence": 2**63}, "source_sequence"),
        ({"timestamp": 2**63}, "timestamp"),
        ({"side": "LEFT"}, "side"),
        ({"trade_conditions": [1]}, "trade_conditions"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_by_field_and_the_next_is_unharmed(change, field):
    encoder = Encoder(RecordKind.TRADES, 1)
    good = encoder.encode(TRADE)
    with pytest.raises(RecordInvalid, match=field):
        encoder.encode(TRADE | change)
    assert encoder.encode(TRADE) == good
