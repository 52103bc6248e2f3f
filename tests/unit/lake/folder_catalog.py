"""An Iceberg catalog in a folder: pyiceberg's own metadata, requirements and files, no server."""

from __future__ import annotations

from pathlib import Path

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io import load_file_io
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.update import update_table_metadata


class FolderCatalog(NoopCatalog):
    """Keeps each table's metadata in memory and everything else below a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("folder")
        self._folder = folder
        self._tables: dict[tuple[str, ...], TableMetadata] = {}

    def create_namespace(self, namespace, properties=None) -> None:
        return

    def create_table(
        self, identifier, schema, location=None, partition_spec=None, sort_order=None, properties=None
    ) -> Table:
        if identifier in self._tables:
            raise TableAlreadyExistsError(str(identifier))
        place = f"file://{self._folder}/{'/'.join(identifier)}"
        self._tables[identifier] = new_table_metadata(
            schema, partition_spec, sort_order, place, dict(properties)
        )
        return self.load_table(identifier)

    def load_table(self, identifier) -> Table:
        if identifier not in self._tables:
            raise NoSuchTableError(str(identifier))
        metadata = self._tables[identifier]
        return Table(
            identifier,
            metadata,
            f"{metadata.location}/metadata.json",
            load_file_io({}, metadata.location),
            self,
        )

    def commit_table(self, table, requirements, updates) -> CommitTableResponse:
        current = self._tables[table.name()]
        for requirement in requirements:
            requirement.validate(current)
        changed = update_table_metadata(current, updates)
        self._tables[table.name()] = changed
        return CommitTableResponse.model_construct(
            metadata=changed, metadata_location=f"{changed.location}/metadata.json"
        )
