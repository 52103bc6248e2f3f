"""What others than the writer do to a table to maintain it: files into new ones, snapshots out of the metadata."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update import RemoveSnapshotsUpdate
from trino.dbapi import connect

from seamark.lake.datafiles import write_data_files
from seamark.local.engines import TrinoServer
from seamark.market.order import iceberg_sort_columns
from seamark.market.schema import RecordKind


def rewrite(table: Table, most_files: int = 1_000_000) -> int:
    """Files of a trades table into new ones, rows kept, as an engine's optimize does.

    Gives the id of the `replace` snapshot. Raises CommitFailedException where a writer was first.
    """
    tasks = list(islice(table.scan().plan_files(), most_files))
    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    rows = scan.to_table(tasks).sort_by(
        [(name, "ascending") for name in iceberg_sort_columns(RecordKind.TRADES)]
    )
    transaction = Transaction(table, autocommit=False)
    producer = transaction.update_snapshot().overwrite()
    for task in tasks:
        producer.delete_data_file(task.file)
    for file in write_data_files(table, rows):
        producer.append_data_file(file)
    (added, *others), requirements = producer._commit()
    # pyiceberg makes no replace itself; what it stages for an overwrite is the same but for the name.
    summary = added.snapshot.summary.model_copy(update={"operation": Operation.REPLACE})
    snapshot = added.snapshot.model_copy(update={"summary": summary})
    added = added.model_copy(update={"snapshot": snapshot})
    table.catalog.commit_table(table, requirements, (added, *others))
    return snapshot.snapshot_id


def optimize(table: Table, trino: TrinoServer) -> int:
    """The same by Trino: all small files of a partition into one.

    Gives the id of the `replace` snapshot, which need not be the head any more: where a writer was
    first, Trino bases its change on the new head itself. Raises LookupError if there was nothing
    to optimize.
    """
    host, port = trino.address
    namespace, name = table.name()[-2:]
    before = {snapshot.snapshot_id for snapshot in table.refresh().snapshots()}
    with connect(host=host, port=port, user="maintenance") as connection:
        cursor = connection.cursor()
        cursor.execute(f'ALTER TABLE lake."{namespace}"."{name}" EXECUTE optimize')
        cursor.fetchall()
    for snapshot in table.refresh().snapshots():
        if snapshot.snapshot_id not in before and snapshot.summary.operation is Operation.REPLACE:
            return snapshot.snapshot_id
    raise LookupError(f"Trino made no replace snapshot of {namespace}.{name}")


def expire(table: Table, snapshot_ids: Collection[int], files: bool = False) -> None:
    """Snapshots out of the metadata; with `files`, what none of the others needs is deleted, too."""
    old = [snapshot for snapshot in table.snapshots() if snapshot.snapshot_id in snapshot_ids]
    kept = [snapshot for snapshot in table.snapshots() if snapshot not in old]
    gone = _files_of(table, old) - _files_of(table, kept) if files else ()
    removal = RemoveSnapshotsUpdate(snapshot_ids=[*snapshot_ids])  # type: ignore[call-arg]
    table.catalog.commit_table(table, (), (removal,))
    for path in gone:
        table.io.delete(path)


def _files_of(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    """Data files that live in one of the snapshots."""
    return {
        entry.data_file.file_path
        for snapshot in snapshots
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
    }
