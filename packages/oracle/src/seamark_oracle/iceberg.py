"""The lake: pyiceberg says what a snapshot has and fetches its files; DuckDB reads them."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NoSuchTableError, RESTError
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import DayTransform, HourTransform
from pyiceberg.types import PrimitiveType

from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import Bound, PinnedTable

_COPY_BYTES = 1 << 20
_PERIOD_US = {HourTransform: 3_600_000_000, DayTransform: 86_400_000_000}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A `DataFile` in the object store."""

    location: str
    record_count: int
    bounds: Sequence[Bound]
    store: FileIO

    def fetch(self, target: Path) -> Path:
        try:
            with self.store.new_input(self.location).open() as stored, target.open("wb") as copy:
                shutil.copyfileobj(stored, copy, _COPY_BYTES)
        except OSError as error:
            raise OracleError(f"data file {self.location} cannot be read: {error}") from error
        return target


class IcebergLake:
    """A `Lake` over a pyiceberg catalog."""

    def __init__(self, catalog_properties: Mapping[str, str], namespace: str) -> None:
        self._namespace = namespace
        try:
            self._catalog = load_catalog("oracle", **catalog_properties)
        except (requests.RequestException, RESTError, OSError) as error:
            raise OracleError(f"the catalog does not answer: {error}") from error

    def pin(self, table: str) -> PinnedTable | None:
        try:
            return pinned(self._catalog.load_table((self._namespace, table)))
        except NoSuchTableError:
            return None
        except (requests.RequestException, RESTError, OSError) as error:
            raise OracleError(f"table {self._namespace}.{table} cannot be loaded: {error}") from error


def pinned(table: Table) -> PinnedTable:
    """What a loaded table says of itself, and its files. Raises what pyiceberg raises."""
    tasks = list(table.scan().plan_files()) if table.current_snapshot() else []
    return PinnedTable(
        table.properties,
        _summary(table),
        [
            StoredFile(
                task.file.file_path, task.file.record_count, tuple(_bounds(table, task.file)), table.io
            )
            for task in tasks
        ],
        {field.name: field.field_id for field in table.schema().fields},
        sum(len(task.delete_files) for task in tasks),
    )


def _summary(table: Table) -> Mapping[str, str] | None:
    """Of the nearest snapshot that a writer made, if none but rewrites of its rows came after it."""
    snapshot = table.current_snapshot()
    while snapshot is not None and snapshot.summary is not None:
        found = snapshot.summary.additional_properties
        # A rewrite may carry the keys over.
        if snapshot.summary.operation is Operation.APPEND and "seamark.checkpoint" in found:
            return found
        if snapshot.summary.operation is not Operation.REPLACE or snapshot.parent_snapshot_id is None:
            return None
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id)
    return None


def _bounds(table: Table, file: DataFile) -> Iterator[Bound]:
    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
    for field in table.schema().fields:
        if isinstance(kind := field.field_type, PrimitiveType) and field.field_id in lower.keys() | upper:
            least, greatest = lower.get(field.field_id), upper.get(field.field_id)
            yield Bound(
                field.name,
                None if least is None else from_bytes(kind, least),
                None if greatest is None else from_bytes(kind, greatest),
            )
    for number, part in enumerate(table.specs()[file.spec_id].fields):
        period_us = _PERIOD_US.get(type(part.transform))
        if period_us is not None and file.partition[number] is not None:
            first_us = file.partition[number] * period_us
            name = table.schema().find_field(part.source_id).name
            yield Bound(name, first_us, first_us + period_us - 1)
