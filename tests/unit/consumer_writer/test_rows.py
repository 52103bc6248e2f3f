"""From decoded records to the rows of a table."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpora import CORPORA, good_record
from corpus.quotes import quote
from corpus.trades import trade
from corpus.wire import Verdict, long, some, text
from seamark.consumer_writer.rows import batch_rows
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.datafiles import write_data_files
from seamark.lake.tables import create_table
from seamark.market.order import iceberg_sort_columns
from seamark.market.schema import RecordKind, row_schema
from seamark.sequencing.state import SequenceKey
from seamark.stream.decode import Decoder
from seamark.stream.rows import Positions, records_of
from unit.lake.folder_catalog import FolderCatalog

TOPICS = {
    RecordKind.TRADES: "market.crypto.trades.binance",
    RecordKind.QUOTES: "market.crypto.quotes.binance",
    RecordKind.REFERENCE_DATA: "market.crypto.reference_data.binance",
    RecordKind.FEED_EVENTS: "market.feed_events",
}
TRADES = RecordKind.TRADES
APPENDED_US = 1_723_161_256_000_000


def positions(count, first=0):
    offsets = np.arange(first, first + count, dtype=np.int64)
    return Positions(offsets, APPENDED_US + offsets)


def buffered(kind, values, first=0, epochs=None):
    rows = Decoder(kind).decode(values).rows
    return positions(len(rows), first).beside(rows, epochs)


def test_the_fold_sees_key_id_and_time_of_each_record():
    symbols = ["B", "A", "B", "C", "A"]
    values = [
        trade(symbol=text(symbol), source_sequence=some(long(number)), timestamp=long(100 - number))
        for number, symbol in enumerate(symbols)
    ]
    records = records_of(Decoder(TRADES).decode(values).rows)
    assert [records.keys[code] for code in records.codes] == [
        SequenceKey("binance", "spot", "trade", symbol) for symbol in symbols
    ]
    assert len(set(records.keys)) == len(records.keys) == 3
    assert records.ids.tolist() == [0, 1, 2, 3, 4]
    assert records.venue_us.tolist() == [100, 99, 98, 97, 96]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(["a", "b", "a\0", "ab", "", "ä"])] * 4), min_size=1, max_size=12))
def test_keys_of_several_feeds_are_told_apart(names):
    rows = pl.DataFrame(names, schema=["exchange", "market", "feed", "symbol"], orient="row").with_columns(
        source_sequence=pl.lit(1, pl.Int64), timestamp=pl.lit(0).cast(pl.Datetime("us", "UTC"))
    )
    records = records_of(rows)
    assert [records.keys[code] for code in records.codes] == [SequenceKey(*name) for name in names]
    assert len(set(records.keys)) == len(records.keys)


def test_earlier_symbols_of_the_process_are_no_keys_of_a_run():
    records_of(Decoder(TRADES).decode([trade(symbol=text(f"EARLIER{n}")) for n in range(300)]).rows)
    records = records_of(Decoder(TRADES).decode([trade(symbol=text("EARLIER299"))]).rows)
    assert [key.symbol for key in records.keys] == ["EARLIER299"]
    assert records.codes.tolist() == [0]


@pytest.mark.parametrize("kind", RecordKind)
def test_rows_have_the_columns_of_the_table_and_where_they_stood(kind):
    epochs = np.array([0, 3], np.int32) if kind.sequenced else None
    rows = batch_rows(
        kind,
        {7: TOPICS[kind]},
        {StreamPartition(7, 2): (buffered(kind, [good_record(kind.value)] * 2, first=40, epochs=epochs),)},
    )
    assert rows.column_names == row_schema(kind).names
    found = rows.to_pylist()
    assert [row["kafka_offset"] for row in found] == [40, 41]
    assert {(row["stream_id"], row["kafka_partition"], row["repair_seq"]) for row in found} == {(7, 2, 0)}
    assert {row["asset_class"] for row in found} == {"all" if kind is RecordKind.FEED_EVENTS else "crypto"}
    assert [row["id_epoch"] for row in found] == ([0, 3] if kind.sequenced else [0, 0])
    assert found[0]["kafka_timestamp"] == datetime.fromtimestamp((APPENDED_US + 40) // 10**6, UTC).replace(
        microsecond=40
    )


def test_positions_keep_what_a_mask_keeps():
    kept = positions(4, first=10).where(np.array([True, False, False, True]))
    assert (kept.offsets.tolist(), kept.append_us.tolist()) == (
        [10, 13],
        [APPENDED_US + 10, APPENDED_US + 13],
    )


def test_rows_of_all_partitions_stand_in_the_declared_order():
    def frames(symbols, first):
        values = [
            trade(symbol=text(symbol), timestamp=long(time_us), source_sequence=some(long(number)))
            for symbol, time_us, number in symbols
        ]
        return (buffered(TRADES, values, first),)

    rows = batch_rows(
        TRADES,
        {1: TOPICS[TRADES], 2: TOPICS[TRADES]},
        {
            StreamPartition(1, 1): frames([("B", 5, 3), ("A", 7, 9), ("ä", 1, 1)], 0),
            StreamPartition(1, 0): frames([("B", 5, 2), ("B", 4, 8)], 0) + frames([("a", 0, 0)], 2),
            StreamPartition(2, 0): frames([("A", 7, 9)], 0),
        },
    )
    columns = ["symbol", "timestamp", "source_sequence", "stream_id", "kafka_partition"]
    found = [tuple(row.values()) for row in rows.select(columns).to_pylist()]
    assert [(symbol, number, stream, partition) for symbol, _, number, stream, partition in found] == [
        ("A", 9, 1, 1),
        ("A", 9, 2, 0),
        ("B", 8, 1, 0),
        ("B", 2, 1, 0),
        ("B", 3, 1, 1),
        ("a", 0, 1, 0),
        ("ä", 1, 1, 1),
    ]


def test_symbols_are_sorted_by_their_text_not_by_when_they_came():
    values = [trade(symbol=text(symbol)) for symbol in ("ZZ9", "MM9", "AA9")]
    rows = batch_rows(TRADES, {1: TOPICS[TRADES]}, {StreamPartition(1, 0): (buffered(TRADES, values),)})
    assert rows["symbol"].to_pylist() == ["AA9", "MM9", "ZZ9"]


def test_no_frames_are_no_rows():
    empty = batch_rows(TRADES, {}, {StreamPartition(1, 0): ()})
    assert empty.num_rows == 0
    assert empty.schema == row_schema(TRADES)


@pytest.mark.parametrize("partitioning", ["hour(timestamp)", "day(timestamp), bucket(3, symbol)"])
@pytest.mark.parametrize("kind", RecordKind)
def test_every_accepted_record_of_the_corpus_can_be_written(tmp_path, kind, partitioning):
    values = [case.value for case in CORPORA[kind.value] if case.verdict is Verdict.ACCEPT]
    catalog = FolderCatalog(tmp_path)
    create_table(catalog, "market", kind, partitioning)
    rows = batch_rows(kind, {1: TOPICS[kind]}, {StreamPartition(1, 0): (buffered(kind, values),)})
    files = write_data_files(catalog.load_table(("market", kind.value)), rows)
    found = pl.concat(
        pl.read_parquet(file.file_path.removeprefix("file://")).select(row_schema(kind).names)
        for file in files
    ).sort("kafka_offset")
    expected = pl.DataFrame(pl.from_arrow(rows)).sort("kafka_offset")
    assert len(found) == len(values)
    assert found.equals(expected.cast(found.schema))
    assert [file.record_count for file in files] == [
        pl.read_parquet(file.file_path.removeprefix("file://")).height for file in files
    ]
    assert set(iceberg_sort_columns(kind)) <= set(found.columns)


def test_quotes_go_the_same_way():
    records = records_of(Decoder(RecordKind.QUOTES).decode([quote(), quote(symbol=text("X"))]).rows)
    assert [str(key) for key in records.keys] == [
        "binance:spot:bookTicker:BTCUSDT",
        "binance:spot:bookTicker:X",
    ]
