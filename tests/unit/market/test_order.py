"""The order of rows: one order, whichever engine sorts."""

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.market.order import iceberg_sort_columns, sort_frame, sort_table, total_order
from seamark.market.schema import RecordKind, row_schema

SMALL = st.integers(0, 2)
NAMES = st.sampled_from(["a", "B", "Ä", "z", ""])
ROWS = st.fixed_dictionaries(
    {name: NAMES for name in ("exchange", "market", "symbol", "feed")}
    | {"timestamp": SMALL, "id_epoch": SMALL, "source_sequence": st.none() | SMALL}
    | {name: SMALL for name in ("stream_id", "kafka_partition", "kafka_offset")}
)


def key(row, columns):
    """Nulls last, text by its bytes: written out, independent of any engine."""
    values = (row[column] for column in columns)
    return tuple((v is None, v.encode() if isinstance(v, str) else v or 0) for v in values)


@pytest.mark.parametrize("columns", [total_order, iceberg_sort_columns])
@given(rows=st.lists(ROWS, min_size=1, max_size=30))
def test_polars_and_arrow_sort_alike_and_as_written(columns, rows):
    by = columns(RecordKind.TRADES)
    expected = [key(row, by) for row in sorted(rows, key=lambda row: key(row, by))]
    table = pa.Table.from_pylist(
        rows, schema=pa.schema([(n, pa.string() if n in _TEXT else pa.int64()) for n in by])
    )
    assert [key(row, by) for row in sort_table(table, by).to_pylist()] == expected
    frame = pl.DataFrame(pl.from_arrow(table))
    assert [key(row, by) for row in sort_frame(frame, by).to_dicts()] == expected


_TEXT = {"exchange", "market", "symbol", "feed"}


def test_files_are_sorted_by_symbol_first_then_by_the_total_order():
    assert iceberg_sort_columns(RecordKind.TRADES) == (
        "symbol",
        "timestamp",
        "exchange",
        "market",
        "feed",
        "id_epoch",
        "source_sequence",
        "stream_id",
        "kafka_partition",
        "kafka_offset",
    )


@pytest.mark.parametrize("kind", [RecordKind.FEED_EVENTS, RecordKind.REFERENCE_DATA])
def test_events_and_reference_data_keep_the_order_of_the_log(kind):
    assert total_order(kind) == ("stream_id", "kafka_partition", "kafka_offset")
    assert iceberg_sort_columns(kind) == total_order(kind)


@pytest.mark.parametrize("kind", RecordKind)
def test_every_column_of_an_order_is_a_column_of_the_rows(kind):
    assert set(iceberg_sort_columns(kind)) <= set(row_schema(kind).names)
