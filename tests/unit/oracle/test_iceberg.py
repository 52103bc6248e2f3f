"""What the oracle takes from Iceberg's metadata, on tables that pyiceberg keeps in a folder."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.types import LongType

from seamark.lake.iceberg import IcebergTable
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.market.schema import RecordKind, row_schema
from seamark_oracle.iceberg import pinned
from seamark_oracle.store import load_lake, open_database
from unit.lake.folder_catalog import FolderCatalog
from unit.oracle.world import feed_event, trade

RECORDS = {"trades": trade(), "feed_events": feed_event("e")}
LATE = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def lake_of(folder: Path, table: str) -> IcebergTable:
    catalog = FolderCatalog(folder)
    create_table(catalog, "market", RecordKind(table))
    return IcebergTable(catalog, "market", table)


def files_of(lake: IcebergTable, table: str, times: Sequence[datetime]) -> Sequence[DataFile]:
    added = {"stream_id": 1, "kafka_partition": 0, "id_epoch": 0, "repair_seq": 0, "asset_class": "all"}
    rows = [
        RECORDS[table] | added | {"kafka_offset": offset, "kafka_timestamp": time, "timestamp": time}
        for offset, time in enumerate(times)
    ]
    return lake.write_rows(lake.load(), pa.Table.from_pylist(rows, row_schema(RecordKind(table))))


def commit(lake: IcebergTable, files: Sequence[DataFile], summary: dict[str, str]) -> Table:
    lake.commit(lake.load(), Change({}, summary, files))
    loaded: Table = lake.load().handle
    return loaded


def faults(table: str, loaded: Table, folder: Path) -> list[str]:
    with open_database(folder) as database:
        return load_lake(database, table, pinned(loaded), folder)


@pytest.mark.parametrize("table", RECORDS)
def test_partitions_bounds_and_field_ids_are_as_the_files_are(tmp_path: Path, table: str) -> None:
    lake = lake_of(tmp_path, table)
    loaded = commit(
        lake, files_of(lake, table, [LATE, LATE - timedelta(days=1), LATE - timedelta(hours=1)]), {}
    )
    assert faults(table, loaded, tmp_path) == []
    bounds = {bound.column for file in pinned(loaded).files for bound in file.bounds}
    assert {"kafka_offset", "kafka_timestamp", "timestamp", "exchange"} <= bounds


def later_partition(file: DataFile) -> None:
    file.partition[0] += 1


def earlier_partition(file: DataFile) -> None:
    file.partition[0] -= 1


def offsets_below(file: DataFile) -> None:
    file.upper_bounds[3] = to_bytes(LongType(), 0)  # kafka_offset


@pytest.mark.parametrize("table", RECORDS)
@pytest.mark.parametrize("defect", [later_partition, earlier_partition, offsets_below])
def test_a_file_that_its_manifest_hides_from_readers_is_reported(
    tmp_path: Path, table: str, defect: Callable[[DataFile], None]
) -> None:
    lake = lake_of(tmp_path, table)
    files = files_of(lake, table, [LATE, LATE])
    defect(files[0])
    said = faults(table, commit(lake, files, {}), tmp_path)
    assert len(said) == 1 and "its manifest says" in said[0]


def test_the_summary_is_the_writers_own_and_none_behind_rows_of_others(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, "trades")
    own = {"seamark.checkpoint": "0"}
    loaded = commit(lake, files_of(lake, "trades", [LATE]), own)
    assert (pinned(loaded).summary or {})["seamark.checkpoint"] == "0"
    assert pinned(commit(lake, files_of(lake, "trades", [LATE]), {})).summary is None
    assert pinned(commit(lake, (), own)).summary is not None


def test_the_summary_behind_a_rewrite_is_the_one_before_it(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, "trades")
    commit(lake, files_of(lake, "trades", [LATE]), {"seamark.checkpoint": "the writer's"})
    loaded = commit(lake, (), {"seamark.checkpoint": "carried over"})
    snapshots = [
        snapshot.model_copy(
            update={"summary": snapshot.summary.model_copy(update={"operation": Operation.REPLACE})}
        )
        if snapshot.summary and snapshot.parent_snapshot_id
        else snapshot
        for snapshot in loaded.metadata.snapshots
    ]
    loaded.metadata = loaded.metadata.model_copy(update={"snapshots": snapshots})
    assert (pinned(loaded).summary or {})["seamark.checkpoint"] == "the writer's"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("price", pa.decimal128(28, 12)),
        ("source_sequence", pa.float64()),
        ("timestamp", pa.timestamp("ns", "UTC")),
        ("kafka_timestamp", pa.timestamp("us")),
    ],
)
def test_a_column_of_another_type_is_not_read_into_agreement(
    tmp_path: Path, column: str, kind: pa.DataType
) -> None:
    lake = lake_of(tmp_path, "trades")
    loaded = commit(lake, files_of(lake, "trades", [LATE]), {})
    path = pinned(loaded).files[0].fetch(tmp_path / "copy.parquet")
    content = pq.read_table(path)
    at = content.schema.get_field_index(column)
    schema = content.schema.set(at, content.schema.field(at).with_type(kind))
    stored = next(iter(loaded.scan().plan_files())).file.file_path.removeprefix("file://")
    pq.write_table(content.cast(schema), stored)
    said = faults("trades", loaded, tmp_path)
    assert len(said) == 1 and column in said[0]
