"""All formats say the same rows, and decimals survive each of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seamark.market import decimals
from seamark.market.schema import RecordKind, row_schema
from unit.query_gateway.api.market_rows import rows
from unit.query_gateway.api.serving import Served

Row = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDE = Context(prec=40)
LARGEST = 10**28 - 1


def amount(unscaled: int) -> Decimal:
    return _WIDE.scaleb(Decimal(unscaled), -10)


amounts = st.one_of(st.integers(-LARGEST, LARGEST), st.integers(-(10**6), 10**6)).map(amount)
instants = st.integers(0, 4_102_444_800_000_000).map(lambda us: _EPOCH + timedelta(microseconds=us))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
trades = st.fixed_dictionaries(
    {
        "price": amounts,
        "quantity": amounts,
        "timestamp": instants,
        "published_timestamp": st.none() | instants,
        "source_sequence": st.none() | st.integers(-(2**63), 2**63 - 1),
        "native_id": st.none() | texts,
        "vendor_data": st.none() | texts,
        "trade_conditions": st.none() | st.lists(texts, max_size=3),
    }
)


def value_of(text: str | None, arrow: pa.DataType) -> Any:
    """A value as formats of text write it, once more as the type it has."""
    if text is None:
        return None
    if pa.types.is_decimal(arrow):
        assert text == decimals.text(decimals.parse(text, "value")), "not canonical"
        return Decimal(text)
    if pa.types.is_timestamp(arrow):
        assert len(text) == len("2024-08-08T12:00:00.000000Z") and text.endswith("Z")
        return datetime.fromisoformat(text)
    if pa.types.is_date(arrow):
        return date.fromisoformat(text)
    return text


def of_json(found: list[dict[str, Any]], schema: pa.Schema) -> Sequence[Row]:
    return [{name: value_of(value, schema.field(name).type) for name, value in row.items()} for row in found]


def from_csv(data: bytes, schema: pa.Schema) -> Sequence[Row]:
    table = pa.csv.read_csv(
        io.BytesIO(data),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in schema.names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    assert table.schema.names == schema.names
    found = []
    for row in table.to_pylist():
        read: dict[str, Any] = {}
        for field in schema:
            text = row[field.name]
            if text is not None and pa.types.is_integer(field.type):
                read[field.name] = int(text)
            elif text is not None and pa.types.is_list(field.type):
                read[field.name] = (
                    of_json(json.loads(text), field.type.value_type)
                    if pa.types.is_struct(field.type.value_type)
                    else json.loads(text)
                )
            else:
                read[field.name] = value_of(text, field.type)
        found.append(read)
    return found


READERS: Mapping[str, Callable[[bytes, pa.Schema], Sequence[Row]]] = {
    "json": lambda data, schema: of_json(json.loads(data)["rows"], schema),
    "ndjson": lambda data, schema: of_json(list(map(json.loads, data.splitlines()))[1:-1], schema),
    "csv": from_csv,
    "parquet": lambda data, schema: pq.read_table(io.BytesIO(data)).to_pylist(),
    "arrow": lambda data, schema: pa.ipc.open_stream(data).read_all().to_pylist(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    given_rows=[
        {"price": amount(LARGEST), "quantity": amount(-LARGEST)},
        {"price": amount(1), "quantity": amount(0)},
    ]
)
@given(given_rows=st.lists(trades, max_size=6))
def test_rows_are_equal_in_every_format(edge: Served, given_rows: list[Row]):
    frame = rows(RecordKind.TRADES, len(given_rows), given_rows)
    edge.gateway.frames = {RecordKind.TRADES: frame}
    edge.gateway.batch_rows = 2
    schema = row_schema(RecordKind.TRADES)
    wanted = {row["kafka_offset"]: row for row in frame.to_arrow().cast(schema).to_pylist()}
    for name, read in READERS.items():
        answer = edge.get("/v1/trades", format=name)
        assert answer.status_code == 200
        found = read(answer.content, schema)
        assert {row["kafka_offset"]: row for row in found} == wanted, name
        assert len(found) == len(wanted)


@pytest.mark.parametrize("kind", [RecordKind.QUOTES, RecordKind.FEED_EVENTS, RecordKind.REFERENCE_DATA])
def test_every_type_of_column_is_equal_in_every_format(edge: Served, kind: RecordKind):
    full = {
        "acked": [{"topic_id": 'a"b,', "partition": 1, "next_offset": 7}],
        "listing_date": date(2017, 7, 14),
        "vendor_data": '{"a": "b,c\\n"}',
        "venue_timestamp": datetime(2024, 8, 8, 12, 0, 0, 1, UTC),
        "shard": 3,
        "tick_size": amount(100_000_000),
    }
    frame = rows(kind, 3, [full, {}, {"acked": []}])
    edge.gateway.frames = {kind: frame}
    path = {"quotes": "/v1/quotes", "feed_events": "/v1/feed-events", "reference_data": "/v1/instruments"}[
        kind.value
    ]
    schema = row_schema(kind)
    wanted = frame.to_arrow().cast(schema).to_pylist()
    for name, read in READERS.items():
        assert read(edge.get(path, format=name).content, schema) == wanted, name
