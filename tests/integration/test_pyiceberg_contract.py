"""What the lake and decode code take for granted of libraries beyond what those promise.

Each private name, and each behaviour that was found out and not documented, has its test here: a
new version that differs turns one of them red before it can write a wrong row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import libversion
from polars_avro import AvroError
from polars_avro._avro_rs import AvroSource
from polars_avro._source import seekable_factory
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import parquet_path_to_id_mapping, schema_to_pyarrow
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
)
from requests.adapters import HTTPAdapter

from integration.fault_proxy import FaultProxy, Point
from seamark.lake.datafiles import write_data_files
from seamark.lake.errors import CatalogUnavailable, CommitConflict, CommitUnknown
from seamark.lake.iceberg import IcebergTable, open_catalog
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.local.engines import CatalogServer
from seamark.market.schema import RecordKind, row_schema

KIND = RecordKind.FEED_EVENTS


def rows(count: int, first: int = 0) -> pa.Table:
    """Rows of the feed events table: the contract with the fewest columns that may not be null."""
    schema = row_schema(KIND)
    required = {
        "stream_id": 1,
        "kafka_partition": 0,
        "kafka_timestamp": 1_723_161_255_342_000,
        "id_epoch": 0,
        "repair_seq": 0,
        "asset_class": "all",
        "kind": "PROGRESS",
        "exchange": "binance",
        "market": "spot",
        "timestamp": 1_723_161_255_342_000,
    }
    columns = []
    for field in schema:
        if field.name == "kafka_offset":
            values = pa.array(range(first, first + count), field.type)
        elif field.name == "event_id":
            values = pa.array([f"event-{n}" for n in range(first, first + count)], field.type)
        elif field.name in required:
            values = pa.array([required[field.name]] * count).cast(field.type)
        else:
            values = pa.nulls(count, field.type)
        columns.append(values)
    return pa.table(columns, schema=schema)


class Events:
    """A table of feed events behind a proxy that counts."""

    def __init__(self, proxy: FaultProxy, namespace: str) -> None:
        self.proxy = proxy
        self.catalog = open_catalog("lake", proxy.properties, timeout_seconds=2)
        create_table(self.catalog, namespace, KIND)
        self.identifier = (namespace, KIND.value)
        self.lake = IcebergTable(self.catalog, *self.identifier)

    def load(self) -> Table:
        return self.catalog.load_table(self.identifier)

    def append(self, count: int = 1, first: int = 0, **change) -> None:
        view = self.lake.load()
        files = self.lake.write_rows(view, rows(count, first)) if count else ()
        self.lake.commit(view, Change(**({"properties": {}, "summary": {}, "files": files} | change)))


@pytest.fixture
def events(catalog_server: CatalogServer, lake) -> Iterator[Events]:
    with FaultProxy(catalog_server.properties()) as proxy:
        yield Events(proxy, lake.namespace)


# pyiceberg: a transaction that is staged and never committed


def test_versions_are_those_that_the_private_names_were_read_in() -> None:
    assert version("pyiceberg").startswith("0.12.")
    assert version("polars-avro").startswith("0.13.")
    # KIP-848 groups, and leader epochs in assign.
    assert libversion()[1] >= 0x020C0000


def test_a_transaction_without_autocommit_sends_nothing(events: Events) -> None:
    table = events.load()
    transaction = Transaction(table, autocommit=False)
    transaction.set_properties({"a": "1"})
    append = transaction.update_snapshot(snapshot_properties={"b": "2"}).merge_append()
    for file in write_data_files(table, rows(3)):
        append.append_data_file(file)
    updates, requirements = append._commit()
    transaction._stage(updates, requirements)
    assert events.proxy.hits(Point.COMMIT_BEFORE) == 0
    assert "a" not in events.load().properties

    assert [type(update) for update in transaction._updates] == [
        SetPropertiesUpdate,
        AddSnapshotUpdate,
        SetSnapshotRefUpdate,
    ]
    assert transaction._updates[1].snapshot.summary.additional_properties["b"] == "2"
    heads = [one for one in transaction._requirements if isinstance(one, AssertRefSnapshotId)]
    assert [(one.ref, one.snapshot_id) for one in heads] == [("main", None)]


def test_the_head_requirement_is_that_of_the_load(events: Events) -> None:
    events.append()
    table = events.load()
    events.append(first=1)
    transaction = Transaction(table, autocommit=False)
    append = transaction.update_snapshot().merge_append()
    updates, requirements = append._commit()
    [head] = [one for one in requirements if isinstance(one, AssertRefSnapshotId)]
    assert head.snapshot_id == table.metadata.current_snapshot_id
    assert updates[0].snapshot.parent_snapshot_id == table.metadata.current_snapshot_id


def test_commit_table_with_stale_requirements_is_refused_and_sent_once(events: Events) -> None:
    events.append()
    table = events.load()
    events.append(first=1)
    transaction = Transaction(table, autocommit=False)
    append = transaction.update_snapshot().merge_append()
    transaction._stage(*append._commit())
    sent = events.proxy.hits(Point.COMMIT_BEFORE)
    with pytest.raises(CommitFailedException):
        events.catalog.commit_table(table, transaction._requirements, transaction._updates)
    assert events.proxy.hits(Point.COMMIT_BEFORE) == sent + 1


def test_commit_table_for_another_tables_uuid_is_refused(events: Events) -> None:
    table = events.load()
    other = AssertTableUUID(uuid=uuid4())
    with pytest.raises(CommitFailedException):
        events.catalog.commit_table(table, (other,), (SetPropertiesUpdate(updates={"a": "1"}),))
    assert "a" not in events.load().properties


def test_one_request_carries_properties_snapshot_removals_and_expiry(events: Events) -> None:
    events.append(properties={"old": "1"})
    events.append(first=1)
    first, second = sorted(events.lake.load().snapshots.values(), key=lambda one: one.timestamp_ms)
    sent = events.proxy.hits(Point.COMMIT_BEFORE)
    fault = events.proxy.inject(Point.COMMIT_AFTER)
    events.append(
        first=2,
        properties={"new": "2"},
        drop_properties=("old",),
        summary={"said": "3"},
        expire=(first.snapshot_id,),
    )
    assert events.proxy.hits(Point.COMMIT_BEFORE) == sent + 1
    body = json.loads(fault.request.body)
    assert {update["action"] for update in body["updates"]} == {
        "set-properties",
        "remove-properties",
        "add-snapshot",
        "set-snapshot-ref",
        "remove-snapshots",
    }
    assert {one["type"] for one in body["requirements"]} >= {"assert-ref-snapshot-id", "assert-table-uuid"}
    table = events.load()
    assert table.properties["new"] == "2" and "old" not in table.properties
    assert table.current_snapshot().summary.additional_properties["said"] == "3"
    assert {one.snapshot_id for one in table.snapshots()} == {
        second.snapshot_id,
        table.current_snapshot().snapshot_id,
    }
    assert table.scan().count() == 3


def test_a_part_that_is_refused_takes_the_whole_request_with_it(events: Events) -> None:
    events.append()
    view = events.lake.load()
    events.append(first=1)
    change = Change({"a": "1"}, {}, events.lake.write_rows(view, rows(1, 2)), expire=tuple(view.snapshots))
    with pytest.raises(CommitConflict):
        events.lake.commit(view, change)
    table = events.load()
    assert "a" not in table.properties
    assert table.scan().count() == 2
    assert len(table.snapshots()) == 2


def test_property_only_commits_of_two_stale_owners_both_land_and_ours_cannot(events: Events) -> None:
    """Why H moves only in commits that add a snapshot."""
    events.append()
    stale = [events.load(), events.load()]
    for number, table in enumerate(stale):
        transaction = Transaction(table, autocommit=False)
        transaction.set_properties({"next": str(number)})
        head = AssertRefSnapshotId.model_validate(
            {"ref": "main", "snapshot-id": table.metadata.current_snapshot_id}
        )
        events.catalog.commit_table(table, (*transaction._requirements, head), transaction._updates)
    assert events.load().properties["next"] == "1", "the second overwrote the first"

    views = [events.lake.load(), events.lake.load()]
    events.lake.commit(views[0], Change({"next": "10"}, {}))
    with pytest.raises(CommitConflict):
        events.lake.commit(views[1], Change({"next": "11"}, {}))
    assert events.load().properties["next"] == "10"


def test_an_append_without_files_adds_a_snapshot(events: Events) -> None:
    events.append()
    before = events.load()
    events.append(count=0)
    after = events.load()
    assert after.current_snapshot().parent_snapshot_id == before.current_snapshot().snapshot_id
    assert after.current_snapshot().summary.operation.value == "append"
    assert after.scan().count() == 1


def test_manifests_are_merged_by_the_append_that_reaches_the_count(events: Events) -> None:
    with events.load().transaction() as transaction:
        transaction.set_properties({"commit.manifest.min-count-to-merge": "3"})
    for number in range(6):
        events.append(first=number)
    table = events.load()
    assert len(table.current_snapshot().manifests(table.io)) <= 3
    assert sorted(table.scan().to_arrow()["kafka_offset"].to_pylist()) == [*range(6)]


def test_a_failed_commit_leaves_its_files_for_the_next_attempt(events: Events) -> None:
    view = events.lake.load()
    files = events.lake.write_rows(view, rows(2))
    events.proxy.inject(Point.COMMIT_BEFORE, 503)
    with pytest.raises(CommitUnknown):
        events.lake.commit(view, Change({}, {}, files))
    events.lake.commit(events.lake.load(), Change({}, {}, files))
    assert events.load().scan().count() == 2


def test_data_files_carry_what_scans_prune_by(events: Events) -> None:
    events.append(count=10)
    table = events.load()
    [task] = table.scan().plan_files()
    assert task.file.record_count == 10
    assert task.file.spec_id == table.spec().spec_id
    assert task.file.sort_order_id == table.sort_order().order_id
    offset = table.schema().find_field("kafka_offset").field_id
    assert task.file.lower_bounds[offset] == (0).to_bytes(8, "little")
    assert task.file.upper_bounds[offset] == (9).to_bytes(8, "little")
    assert not list(table.scan(row_filter="kafka_offset = 10").plan_files())
    with table.io.new_input(task.file.file_path).open() as stored:
        footer = pq.ParquetFile(pa.BufferReader(stored.read())).schema_arrow
    wanted = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in footer}
    assert wanted == {field.name: field.field_id for field in table.schema().fields}
    by_path = parquet_path_to_id_mapping(table.schema())
    assert {name: by_path[name] for name in ("kafka_offset", "symbol", "timestamp")} == {
        name: wanted[name] for name in ("kafka_offset", "symbol", "timestamp")
    }
    assert footer.names == schema_to_pyarrow(table.schema()).names


# pyiceberg: time


@pytest.mark.parametrize("point", [Point.LOAD_TABLE, Point.COMMIT_BEFORE])
def test_a_request_that_is_not_answered_ends(events: Events, point) -> None:
    view = events.lake.load()
    events.proxy.inject(point, held=True)
    if point is Point.LOAD_TABLE:
        with pytest.raises(CatalogUnavailable, match="ReadTimeout"):
            events.lake.load()
    else:
        with pytest.raises(CommitUnknown, match="ReadTimeout"):
            events.lake.commit(view, Change({"a": "1"}, {}))


def test_a_catalog_that_hangs_at_the_first_question_ends(catalog_server: CatalogServer) -> None:
    catalog_server.process.pause()
    try:
        with pytest.raises(CatalogUnavailable, match="ReadTimeout"):
            open_catalog("lake", catalog_server.properties(), timeout_seconds=0.5)
    finally:
        catalog_server.process.resume()


def test_pyiceberg_itself_sets_no_time_limit(catalog_server: CatalogServer) -> None:
    """Where it does, the catalog of our own can go."""
    with FaultProxy(catalog_server.properties()) as proxy:
        catalog = RestCatalog("lake", **proxy.properties)
        asked: list[object] = []

        class Asked(HTTPAdapter):
            def send(self, request, **options):
                asked.append(options["timeout"])
                return super().send(request, **options)

        catalog._session.mount("http://", Asked())
        catalog.list_namespaces()
    assert asked == [None]


# polars-avro: the reader behind its public function


def container(values: list[int], count: int, trailing: bytes = b"") -> bytes:
    """An Avro container of one block that says it has `count` records of one long each."""

    def varint(number: int) -> bytes:
        number = (number << 1) ^ (number >> 63)
        out = bytearray()
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*out, number])

    schema = json.dumps({"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}).encode()
    sync = b"0123456789abcdef"
    name = b"avro.schema"
    header = (
        b"Obj\x01" + varint(1) + varint(len(name)) + name + varint(len(schema)) + schema + varint(0) + sync
    )
    body = b"".join(map(varint, values)) + trailing
    return header + varint(count) + varint(len(body)) + body + sync


def batches(data: bytes, size: int) -> Iterator[Any]:
    return AvroSource([seekable_factory(io.BytesIO(data))], False, False).batch_iter(size, None)


def test_one_batch_of_the_blocks_size_reads_every_record() -> None:
    frame = pl.DataFrame(next(batches(container([*range(1000)], 1000), 1000)))
    assert frame["n"].to_numpy().tolist() == np.arange(1000).tolist()


def test_one_batch_of_the_blocks_size_leaves_bytes_behind_the_last_record_alone() -> None:
    # The public reader loops for ever on these: why decode asks for one batch and no more.
    frame = pl.DataFrame(next(batches(container([1, 2, 3], 3, trailing=b"\x08\x08"), 3)))
    assert frame["n"].to_list() == [1, 2, 3]


def test_a_block_that_ends_within_a_record_is_an_error() -> None:
    # Kept in a name: an iterator that dies while its error is raised takes the error with it.
    reader = batches(container([1, 2], 3, trailing=b"\x80"), 3)
    with pytest.raises((AvroError, ValueError)):
        next(reader)


def test_a_schema_is_known_before_any_record_is_read() -> None:
    source = AvroSource([seekable_factory(io.BytesIO(container([], 0)))], False, False)
    assert pl.DataFrame(source.schema()).schema == {"n": pl.Int64}
