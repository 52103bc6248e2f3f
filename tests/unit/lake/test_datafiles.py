"""Rows come back from the files as they went in, laid out as declared."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.conversions import from_bytes

from seamark.lake import datafiles
from seamark.lake.errors import CommitConflict
from seamark.lake.iceberg import IcebergTable
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.market.order import iceberg_sort_columns, sort_table
from seamark.market.schema import RecordKind, row_schema
from unit.lake.folder_catalog import FolderCatalog

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)
GREATEST = Decimal("999999999999999999.9999999999")

ORDINARY = {
    "stream_id": 1,
    "kafka_partition": 0,
    "kafka_offset": 0,
    "kafka_timestamp": NOON,
    "id_epoch": 0,
    "repair_seq": 0,
    "asset_class": "crypto",
    "exchange": "binance",
    "market": "spot",
    "feed": "trade",
    "symbol": "BTCUSDT",
    "source_sequence": 1,
    "timestamp": NOON,
    "ingestion_timestamp": NOON,
    "event_id": "e",
    "kind": "PROGRESS",
    "status": "TRADING",
    "currency": "USDT",
    "side": "BUY",
    "origin": "STREAM",
    "timestamp_source": "RECEIVE",
} | dict.fromkeys(
    ("price", "quantity", "bid_price", "bid_quantity", "ask_price", "ask_quantity"), Decimal("1.5")
)


def rows(kind, *changes):
    """Rows of the declared order; fields not named are as in ORDINARY, nullable ones null."""
    names = row_schema(kind).names
    records = [
        {name: ORDINARY.get(name) for name in names} | {"kafka_offset": at} | change
        for at, change in enumerate(changes)
    ]
    return sort_table(pa.Table.from_pylist(records, row_schema(kind)), iceberg_sort_columns(kind))


def table_of(tmp_path, kind, *partitioning):
    catalog = FolderCatalog(tmp_path)
    create_table(catalog, "market", kind, *partitioning)
    return IcebergTable(catalog, "market", kind.value)


def written(table, data):
    """(files, rows as they stand in them)."""
    view = table.load()
    files = table.write_rows(view, data)
    table.commit(view, Change({"seamark.revision": "0"}, {}, files))
    return files, pa.concat_tables([parquet(file).read() for file in files])


def parquet(file):
    return pq.ParquetFile(file.file_path.removeprefix("file://"))


def in_order(data):
    by_offset = [("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    return data.sort_by(by_offset).to_pylist()


# pyiceberg's own scan is no judge of every row: it makes a null list of structs an empty one.
TRADES = RecordKind.TRADES
EXTREMES = [
    {"price": GREATEST, "quantity": -GREATEST},
    {"price": Decimal("0"), "quantity": Decimal("-0.0000000001")},
    {"timestamp": EPOCH, "source_sequence": 0},
    {"timestamp": datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "source_sequence": 2**63 - 1},
    {"symbol": "币安人生USDT", "vendor_data": '{"a": "\\u0000"}', "trade_conditions": []},
    {"symbol": "A\0B", "trade_conditions": ["x", ""], "native_id": "", "correction_of": "b:s:t:X:0:1"},
    {"kafka_offset": 2**63 - 1, "published_timestamp": NOON},
]


def test_trades_at_their_extremes_come_back(tmp_path):
    data = rows(TRADES, *EXTREMES)
    _, found = written(table_of(tmp_path, TRADES), data)
    assert in_order(found) == in_order(data)


def test_a_scan_of_the_table_finds_what_was_committed(tmp_path):
    table = table_of(tmp_path, TRADES)
    data = rows(TRADES, *EXTREMES)
    written(table, data)
    assert in_order(table.load().handle.scan().to_arrow()) == in_order(data)


def test_the_nested_offsets_of_feed_events_come_back(tmp_path):
    kind = RecordKind.FEED_EVENTS
    acked = [
        {"topic_id": "kT8", "partition": 1, "next_offset": 2**40},
        {"topic_id": "", "partition": 0, "next_offset": 0},
    ]
    data = rows(kind, {"acked": acked}, {"acked": []}, {"acked": None}, {"shard": 2**31 - 1, "detail": "{}"})
    (file,), found = written(table_of(tmp_path, kind), data)
    assert in_order(found) == in_order(data)
    assert file.record_count == 4


@pytest.mark.parametrize("kind", RecordKind)
def test_a_row_of_nothing_but_nulls_where_they_are_allowed_comes_back(tmp_path, kind):
    data = rows(kind, {})
    _, found = written(table_of(tmp_path, kind), data)
    assert in_order(found) == in_order(data)


def test_text_as_dictionaries_comes_back_as_text(tmp_path):
    plain = rows(TRADES, *EXTREMES)
    data = plain
    for name in ("symbol", "side", "currency", "vendor_data"):
        at = data.schema.get_field_index(name)
        data = data.set_column(at, name, data[name].dictionary_encode())
    assert pa.types.is_dictionary(data.schema.field("symbol").type)
    _, found = written(table_of(tmp_path, TRADES), data)
    assert in_order(found) == in_order(plain)


@pytest.mark.parametrize("dictionary", [False, True])
def test_partitions_by_bucket_and_day_get_a_file_each(tmp_path, dictionary):
    symbols = ["A", "B", "C", "D"]
    changes = [
        {"symbol": symbol, "timestamp": NOON + timedelta(days=day)} for symbol in symbols for day in (0, 1)
    ]
    data = rows(TRADES, *changes)
    if dictionary:
        at = data.schema.get_field_index("symbol")
        data = data.set_column(at, "symbol", data["symbol"].dictionary_encode())
    files, found = written(table_of(tmp_path, TRADES, "day(timestamp), bucket(2, symbol)"), data)
    assert len(files) == 4
    assert sorted(found["kafka_offset"].to_pylist()) == list(range(8))


def test_each_hour_gets_one_file_with_its_rows_alone(tmp_path):
    hours = [NOON, NOON + HOUR - timedelta(microseconds=1), NOON + HOUR, NOON - HOUR]
    data = rows(TRADES, *({"timestamp": at, "symbol": symbol} for symbol in "BA" for at in hours))
    files, found = written(table_of(tmp_path, TRADES), data)
    since_1970 = int((NOON - EPOCH) / HOUR)
    counts = {file.partition[0]: file.record_count for file in files}
    assert counts == {since_1970 - 1: 2, since_1970: 4, since_1970 + 1: 2}
    assert found.num_rows == 8
    for file in files:
        times = parquet(file).read()["timestamp"].to_pylist()
        assert {int((time - EPOCH) / HOUR) for time in times} == {file.partition[0]}


def test_rows_of_a_file_stand_in_the_declared_order(tmp_path):
    changes = [
        {"symbol": symbol, "timestamp": NOON + timedelta(seconds=second), "source_sequence": number}
        for number, (symbol, second) in enumerate([("B", 3), ("A", 9), ("B", 1), ("A", 9), ("A", 2)])
    ]
    (file,), _ = written(table_of(tmp_path, TRADES), rows(TRADES, *changes))
    found = parquet(file).read(columns=["symbol", "source_sequence"]).to_pylist()
    assert [(row["symbol"], row["source_sequence"]) for row in found] == [
        ("A", 4),
        ("A", 1),
        ("A", 3),
        ("B", 2),
        ("B", 0),
    ]
    assert file.sort_order_id == 1


def test_files_are_zstd_with_numbers_as_deltas_text_as_dictionaries_and_amounts_plain(tmp_path):
    (file,), _ = written(
        table_of(tmp_path, TRADES), rows(TRADES, *({"source_sequence": n} for n in range(100)))
    )
    group = parquet(file).metadata.row_group(0)
    encodings = {}
    for number in range(group.num_columns):
        column = group.column(number)
        assert column.compression == "ZSTD"
        encodings[column.path_in_schema] = set(column.encodings)
    for name in ("kafka_offset", "kafka_timestamp", "source_sequence", "timestamp", "ingestion_timestamp"):
        assert "DELTA_BINARY_PACKED" in encodings[name]
    for name in ("symbol", "side", "currency"):
        assert "RLE_DICTIONARY" in encodings[name]
    for name in ("price", "quantity"):
        assert "RLE_DICTIONARY" not in encodings[name]


def row_groups(file):
    metadata = parquet(file).metadata
    return [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]


def repeated(*symbols):
    """Rows of (symbol, how many)."""
    ones = [(rows(TRADES, {"symbol": symbol}), count) for symbol, count in symbols]
    return pa.concat_tables([one for one, count in ones for _ in range(count)]).combine_chunks()


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_symbol_of_many_rows_has_row_groups_of_its_own(tmp_path, monkeypatch, dictionary):
    monkeypatch.setattr(datafiles, "ROW_GROUP_ROWS", 8)
    monkeypatch.setattr(datafiles, "_FEW_ROWS", 4)
    data = repeated(("A", 1), ("B", 3), ("C", 1), ("D", 17), ("E", 2), ("F", 5), ("G", 1))
    if dictionary:  # in chunks, each with its own
        halves = [data["symbol"].combine_chunks()[:3], data["symbol"].combine_chunks()[3:]]
        symbols = pa.chunked_array([half.dictionary_encode() for half in halves])
        data = data.set_column(data.schema.get_field_index("symbol"), "symbol", symbols)
    (file,), found = written(table_of(tmp_path, TRADES), data)
    assert row_groups(file) == [4, 1, 5, 6, 6, 2, 5, 1]
    assert len(file.split_offsets) == 8
    assert found.num_rows == 30


def test_rows_in_the_order_of_the_log_are_cut_by_their_number_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(datafiles, "ROW_GROUP_ROWS", 8)
    kind = RecordKind.FEED_EVENTS
    (file,), _ = written(table_of(tmp_path, kind), rows(kind, *({"symbol": str(n)} for n in range(9))))
    assert row_groups(file) == [4, 5]


def test_bounds_and_counts_describe_the_file(tmp_path):
    data = rows(TRADES, *EXTREMES[:2], {"symbol": "AAA", "vendor_data": "x"})
    table = table_of(tmp_path, TRADES)
    (file,), _ = written(table, data)
    schema = table.load().handle.schema()

    def bound(bounds, name):
        field = schema.find_field(name)
        return from_bytes(field.field_type, bounds[field.field_id])

    assert file.record_count == 3
    assert file.file_size_in_bytes == Path(file.file_path.removeprefix("file://")).stat().st_size
    assert (bound(file.lower_bounds, "symbol"), bound(file.upper_bounds, "symbol")) == ("AAA", "BTCUSDT")
    assert (bound(file.lower_bounds, "quantity"), bound(file.upper_bounds, "price")) == (-GREATEST, GREATEST)
    assert file.null_value_counts[schema.find_field("vendor_data").field_id] == 2


def test_no_rows_are_no_file(tmp_path):
    table = table_of(tmp_path, TRADES)
    assert table.write_rows(table.load(), row_schema(TRADES).empty_table()) == []


def test_files_nobody_has_committed_are_not_seen(tmp_path):
    table = table_of(tmp_path, TRADES)
    table.write_rows(table.load(), rows(TRADES, {}))
    assert table.load().head_id is None


def test_a_commit_on_a_head_that_has_moved_is_a_conflict_and_changes_nothing(tmp_path):
    table = table_of(tmp_path, TRADES)
    stale = table.load()
    files = table.write_rows(stale, rows(TRADES, {}))
    table.commit(stale, Change({"seamark.revision": "1"}, {}, files))
    after = table.load()
    with pytest.raises(CommitConflict):
        table.commit(stale, Change({"seamark.revision": "2"}, {}, files))
    assert (table.load().head_id, table.load().revision) == (after.head_id, 1)


def test_history_is_the_rows_of_the_streams_asked_for(tmp_path):
    table = table_of(tmp_path, TRADES)
    written(table, rows(TRADES, *({"stream_id": stream} for stream in (1, 2, 1, 3))))
    batches = list(table.history(table.load(), ["stream_id", "kafka_offset"], [1, 3]))
    found = sorted(pa.Table.from_batches(batches)["kafka_offset"].to_pylist())
    assert found == [0, 2, 3]
    assert (
        list(
            table_of(tmp_path / "new", TRADES).history(
                table_of(tmp_path / "n", TRADES).load(), ["stream_id"], [1]
            )
        )
        == []
    )
