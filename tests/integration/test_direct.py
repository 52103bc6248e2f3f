"""The direct reader on a real object store and REST catalog: the rows of one snapshot, or the truth about it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from integration import maintenance
from seamark.lake.errors import CatalogUnavailable
from seamark.lake.iceberg import IcebergTable
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.market.order import iceberg_sort_columns, sort_table
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct import DirectReader
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.sources import SnapshotGone, Window

TRADES = RecordKind.TRADES
ALL = tuple(row_schema(TRADES).names)
NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
SYMBOLS = ("ABCUSDT", "BTCUSDT", "币安人生USDT")
_TEXT = ("asset_class", "exchange", "market", "feed", "currency", "side", "origin")


class LakeTable:
    """Trades of a namespace nobody else uses."""

    def __init__(self, lake) -> None:
        self._catalog, self._namespace = lake.catalog, lake.namespace
        create_table(lake.catalog, lake.namespace, TRADES)
        self._lake = IcebergTable(lake.catalog, lake.namespace, TRADES.value)
        self._next_offset = 0

    @property
    def handle(self):
        return self._lake.load().handle

    def pin(self) -> Pin:
        view = self._lake.load()
        return Pin(TRADES.value, view.head_id, {}, {}, 0, (), {}, view)

    def append(self, count: int) -> list[str]:
        """One commit of trades, two seconds apart from noon on. Gives the paths of its files."""
        first, self._next_offset = self._next_offset, self._next_offset + count
        at = range(first, first + count)
        times = pa.array([NOON + timedelta(seconds=2 * n) for n in at], pa.timestamp("us", tz="UTC"))
        columns = {
            "symbol": pa.array([SYMBOLS[n % 3] for n in at]),
            "kafka_offset": pa.array(at, pa.int64()),
            "source_sequence": pa.array(at, pa.int64()),
            "price": pa.array([n * 7 for n in at], pa.decimal128(28, 10)),
            "quantity": pa.array([n + 1 for n in at], pa.decimal128(28, 10)),
            **dict.fromkeys(("timestamp", "ingestion_timestamp", "kafka_timestamp"), times),
            **{name: pa.array(["x"] * count) for name in _TEXT},
            **dict.fromkeys(
                ("stream_id", "kafka_partition", "id_epoch", "repair_seq"), pa.array([1] * count, pa.int32())
            ),
        }
        schema = row_schema(TRADES)
        filled = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
        rows = sort_table(pa.table(filled, schema=schema), iceberg_sort_columns(TRADES))
        view = self._lake.load()
        files = self._lake.write_rows(view, rows)
        self._lake.commit(view, Change({"seamark.revision": "0"}, {}, files))
        return [file.file_path for file in files]

    def remove(self, path: str) -> None:
        """What an engine's removal of orphans does to a file."""
        self.handle.io.delete(path)


@pytest.fixture
def table(lake) -> LakeTable:
    return LakeTable(lake)


@pytest.fixture
def direct():
    reader = DirectReader(cache_bytes=1 << 26, threads=4)
    yield reader
    reader.close()


def read(direct: DirectReader, pin: Pin, predicate: Predicate = Predicate()) -> pl.DataFrame:
    plan = direct.plan(pin, predicate, ALL)
    frames = [*direct.read(plan, Window(), None, threading.Event())]
    return plain([pl.DataFrame(row_schema(TRADES).empty_table()), *frames])


def plain(frames) -> pl.DataFrame:
    text = pl.col(pl.Categorical).cast(pl.String)
    return pl.concat([frame.with_columns(text) for frame in frames]).sort("kafka_offset")


def scanned(table: LakeTable, **options) -> pl.DataFrame:
    """The same rows by pyiceberg."""
    return plain([pl.DataFrame(table.handle.scan(**options).to_arrow())])


def test_rows_are_those_of_a_scan(table, direct):
    for _ in range(3):
        table.append(2_000)
    assert_frame_equal(read(direct, table.pin()), scanned(table))
    first, last = NOON + timedelta(minutes=50), NOON + timedelta(minutes=100)
    predicate = Predicate(("BTCUSDT",), from_us=NOON_US + 50 * 60 * 10**6, to_us=NOON_US + 100 * 60 * 10**6)
    condition = (
        f"symbol = 'BTCUSDT' and timestamp >= '{first.isoformat()}' and timestamp < '{last.isoformat()}'"
    )
    found = read(direct, table.pin(), predicate)
    assert len(found) == 500
    assert_frame_equal(found, scanned(table, row_filter=condition))


def test_a_rewritten_table_has_the_same_rows_at_both_snapshots(table, direct):
    for _ in range(3):
        table.append(500)
    before = table.pin()
    expected = read(direct, before)
    maintenance.rewrite(table.handle)
    after = table.pin()
    assert after.snapshot_id != before.snapshot_id
    assert_frame_equal(read(direct, after), expected)
    again = DirectReader(cache_bytes=0, threads=2)
    assert_frame_equal(read(again, replace(after, snapshot_id=before.snapshot_id)), expected)
    again.close()


def test_an_expired_snapshot_is_read_as_long_as_its_files_are_known(table, direct):
    table.append(10)
    before = table.pin()
    table.append(10)
    assert before.snapshot_id is not None
    maintenance.expire(table.handle, {before.snapshot_id})
    assert len(read(direct, before)) == 10  # its files are still there
    anew = DirectReader(cache_bytes=1 << 26, threads=2)
    with pytest.raises(SnapshotGone, match=str(before.snapshot_id)):
        read(anew, replace(table.pin(), snapshot_id=before.snapshot_id))
    assert len(read(anew, table.pin())) == 20
    anew.close()


def test_a_file_that_was_removed_is_named(table):
    (path,) = table.append(10)
    pin = table.pin()
    direct = DirectReader(cache_bytes=1 << 26, threads=2)
    plan = direct.plan(pin, Predicate(), ALL)  # its footer is read, and the file open
    table.remove(path)
    with pytest.raises(SnapshotGone, match=path):
        [*direct.read(plan, Window(), None, threading.Event())]
    direct.close()
    anew = DirectReader(cache_bytes=1 << 26, threads=2)
    with pytest.raises(SnapshotGone, match=path):
        anew.plan(pin, Predicate(), ALL)
    with pytest.raises(SnapshotGone, match=path):
        anew.warm(pin)
    anew.close()


def test_what_is_kept_is_answered_while_the_store_is_down_and_nothing_else(table, direct, catalog_server):
    table.append(300)
    pin = table.pin()
    direct.warm(pin)
    catalog_server.kill()
    try:
        assert len(read(direct, pin)) == 300
        anew = DirectReader(cache_bytes=1 << 26, threads=2)
        with pytest.raises(CatalogUnavailable, match="s3://"):
            anew.plan(pin, Predicate(), ALL)
    finally:
        catalog_server.start()
    assert len(read(anew, pin)) == 300
    anew.close()
