"""How tables are partitioned and sorted."""

from typing import Any

import pytest
from pyiceberg.transforms import BucketTransform, DayTransform, HourTransform, Transform

from seamark.lake.schema import iceberg_schema
from seamark.lake.tables import TABLE_PROPERTIES, create_table, partition_spec, sort_order
from seamark.market.order import iceberg_sort_columns
from seamark.market.schema import RecordKind
from unit.lake.folder_catalog import FolderCatalog

TRADES, QUOTES = RecordKind.TRADES, RecordKind.QUOTES
EVENTS = [RecordKind.FEED_EVENTS, RecordKind.REFERENCE_DATA]


def terms(kind, *text):
    schema = iceberg_schema(kind)
    return [
        (schema.find_column_name(field.source_id), field.transform, field.name)
        for field in partition_spec(kind, schema, *text).fields
    ]


Term = tuple[str, Transform[Any, Any], str]
HOUR: Term = ("timestamp", HourTransform(), "timestamp_hour")
DAY: Term = ("timestamp", DayTransform(), "timestamp_day")
BUCKET: Term = ("symbol", BucketTransform(16), "symbol_bucket")


@pytest.mark.parametrize("kind", [TRADES, QUOTES])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hour(timestamp)", [HOUR]),
        ("day(timestamp)", [DAY]),
        ("bucket(16,symbol)", [BUCKET]),
        (" hour( timestamp ) , bucket( 16 , symbol ) ", [HOUR, BUCKET]),
        ("bucket(16, symbol),day(timestamp)", [BUCKET, DAY]),
    ],
)
def test_trades_and_quotes_are_partitioned_as_told(kind, text, expected):
    assert terms(kind, text) == expected


def test_trades_are_partitioned_by_the_hour_unless_told():
    assert terms(TRADES) == [HOUR]


@pytest.mark.parametrize("kind", EVENTS)
def test_events_are_partitioned_by_the_day_of_arrival_whatever_is_told(kind):
    expected: list[Term] = [("kafka_timestamp", DayTransform(), "kafka_timestamp_day")]
    assert terms(kind) == terms(kind, "bucket(4, symbol)") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "identity(symbol)",
        "symbol",
        "hour(timestamp), identity(symbol)",
        "hour(timestamp),",
        "hour(timestamp) day(timestamp)",
        "hour(timestamp), day(timestamp)",
        "hour(timestamp), hour(timestamp)",
        "bucket(4, symbol), bucket(8, symbol)",
        "hour(timestamp), bucket(0, symbol)",
        "hour(timestamp), bucket(symbol)",
        "hour(timestamp), bucket(16, exchange)",
        "hour(symbol)",
        "hour(3, timestamp)",
        "hour(ingestion_timestamp)",
        "day(kafka_timestamp)",
        "bucket(-1, symbol)",
        "xhour(timestamp)",
        "hour(timestamp)x",
        "HOUR(timestamp)",
    ],
)
def test_any_other_partitioning_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"must be at most one of hour\(timestamp\)") as refused:
        terms(TRADES, text)
    assert f"partitioning was {text!r}" in str(refused.value)


@pytest.mark.parametrize("kind", RecordKind)
def test_files_are_sorted_as_rows_are_ordered_nulls_last(kind):
    schema = iceberg_schema(kind)
    fields = sort_order(kind, schema).fields
    assert tuple(schema.find_column_name(field.source_id) for field in fields) == iceberg_sort_columns(kind)
    assert {str(field.direction) for field in fields} == {"ASC"}
    # Iceberg and our orders must agree on where nulls stand.
    nullable = [field for field in fields if not schema.find_field(field.source_id).required]
    assert {str(field.null_order) for field in nullable} <= {"NULLS LAST"}


@pytest.mark.parametrize("kind", RecordKind)
def test_a_table_is_made_once_and_then_left_as_it_is(tmp_path, kind):
    catalog = FolderCatalog(tmp_path)
    assert create_table(catalog, "market", kind, "day(timestamp)")
    made = catalog.load_table(("market", kind.value))
    assert not create_table(catalog, "market", kind, "hour(timestamp)")
    assert catalog.load_table(("market", kind.value)).metadata == made.metadata
    assert made.schema().column_names == iceberg_schema(kind).column_names
    assert made.format_version == 2
    kept = {name: value for name, value in TABLE_PROPERTIES.items() if name != "format-version"}
    assert kept.items() <= made.properties.items()
