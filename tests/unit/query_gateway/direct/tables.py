"""Tables in a folder, of rows as the writer and as other engines leave them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from seamark.lake.iceberg import IcebergTable
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.market.order import iceberg_sort_columns, sort_table
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.pin import Pin
from unit.lake.folder_catalog import FolderCatalog

NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000

_ORDINARY = {
    "stream_id": 1,
    "kafka_partition": 0,
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


def rows(kind: RecordKind, *changes: dict) -> pa.Table:
    """Rows in the declared order; fields not named are ordinary, nullable ones null."""
    names = row_schema(kind).names
    records = [
        {name: _ORDINARY.get(name) for name in names} | {"kafka_offset": at} | change
        for at, change in enumerate(changes)
    ]
    return sort_table(pa.Table.from_pylist(records, row_schema(kind)), iceberg_sort_columns(kind))


def seconds(number: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=number)


class FolderTable:
    """A table whose every commit is one snapshot."""

    def __init__(self, folder: Path, kind: RecordKind, *partitioning: str) -> None:
        self.kind = kind
        self.catalog = FolderCatalog(folder)
        create_table(self.catalog, "market", kind, *partitioning)
        self._lake = IcebergTable(self.catalog, "market", kind.value)

    def pin(self) -> Pin:
        """The head. Nothing but the snapshot is known of it: no writer made these tables."""
        view = self._lake.load()
        return Pin(self.kind.value, view.head_id, {}, {}, 0, (), {}, view)

    def append(self, data: pa.Table) -> Sequence[DataFile]:
        """One commit of rows as the writer writes them."""
        files = self._lake.write_rows(self._lake.load(), data)
        self.commit(files)
        return files

    def commit(self, files: Sequence[DataFile]) -> None:
        """One commit of files that are written."""
        self._lake.commit(self._lake.load(), Change({"seamark.revision": "0"}, {}, files))

    def append_foreign(self, data: pa.Table, **parquet_options) -> DataFile:
        """One commit of rows as another engine may write them: columns in another order, no Arrow schema."""
        file = foreign_file(self._lake.load().handle, data, **parquet_options)
        self.commit([file])
        return file


def foreign_file(
    table,
    data: pa.Table,
    renamed: Mapping[str, str] = MappingProxyType({}),
    content: DataFileContent = DataFileContent.DATA,
    **parquet_options,
) -> DataFile:
    """A file with its columns the other way round; text is plain unless told otherwise. Rows of one hour.

    `renamed`: names that columns have in the file.
    """
    target = schema_to_pyarrow(table.schema())
    names = [name for name in reversed(target.names) if name in data.column_names]
    arrow = pa.table(
        [data[name].cast(target.field(name).type) for name in names],
        schema=pa.schema([target.field(name).with_name(renamed.get(name, name)) for name in names]),
    )
    location = f"{table.location()}/data/{uuid.uuid4()}.parquet"
    path = Path(location.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"use_dictionary": False, "compression": "snappy", "store_schema": False} | parquet_options
    pq.write_table(arrow, path, **options)
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=pq.read_metadata(path),
        stats_columns=compute_statistics_plan(table.schema(), table.properties),
        parquet_column_mapping={
            renamed.get(name, name): number
            for name, number in parquet_path_to_id_mapping(table.schema()).items()
        },
    )
    (hour,) = {int(at.timestamp()) // 3600 for at in data["timestamp"].to_pylist()} or {0}
    return DataFile.from_args(
        content=content,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(hour),
        file_size_in_bytes=path.stat().st_size,
        sort_order_id=None,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def in_order(frames) -> pl.DataFrame:
    """All rows by their place in the log, text as text."""
    frame = pl.concat([one.with_columns(pl.col(pl.Categorical).cast(pl.String)) for one in frames])
    return frame.sort("stream_id", "kafka_partition", "kafka_offset")
