"""The lake: pyiceberg says which files a snapshot has and fetches them; DuckDB reads them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError, RESTError
from pyiceberg.io import FileIO

from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import PinnedTable

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A `DataFile` in the object store."""

    location: str
    record_count: int
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
            loaded = self._catalog.load_table((self._namespace, table))
            tasks = list(loaded.scan().plan_files()) if loaded.current_snapshot() else []
        except NoSuchTableError:
            return None
        except (requests.RequestException, RESTError, OSError) as error:
            raise OracleError(f"table {self._namespace}.{table} cannot be loaded: {error}") from error
        snapshot = loaded.current_snapshot()
        return PinnedTable(
            loaded.properties,
            snapshot.snapshot_id if snapshot else None,
            [StoredFile(task.file.file_path, task.file.record_count, loaded.io) for task in tasks],
            sum(len(task.delete_files) for task in tasks),
        )
