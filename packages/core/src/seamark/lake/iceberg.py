"""A LakeTable over pyiceberg: one load, one commit request, never pyiceberg's own retry.

pyiceberg 0.12 retries a stale commit by default and lands it, with the offset properties of
the stale attempt; its clean-up can delete manifests of a commit that landed although it
was answered 409. So the change is staged on a transaction that is never committed itself:
updates and requirements are taken from it and sent in one `Catalog.commit_table`. Private
names used here (`_updates`, `_requirements`, `_stage`, a producer's `_commit`) are pinned by
tests/integration/test_pyiceberg_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import requests
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
)
from pyiceberg.expressions import In
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate

from seamark.lake import checkpoint
from seamark.lake.datafiles import write_data_files
from seamark.lake.errors import CatalogUnavailable, CommitConflict, CommitUnknown, TableMissing
from seamark.lake.foreign import FOREIGN
from seamark.lake.view import Change, SnapshotView, TableView

# What an unreachable catalog or store looks like through pyiceberg: its HTTP session's
# errors, 5xx answers, and the operating system's errors out of pyarrow's file systems.
_UNREACHABLE = (requests.RequestException, ServerError, ServiceUnavailableError, OSError)
# An answer that is not the catalog's, but of something between: another status (pyiceberg has
# the built-in NotImplementedError for 501), or a body that is not the one asked for.
_STRANGE = (RESTError, NotImplementedError, ValueError)


def open_catalog(name: str, properties: Mapping[str, str], timeout_seconds: float) -> Catalog:
    """The catalog of these pyiceberg properties; a REST catalog's every request ends within the time.

    Raises:
        CatalogUnavailable: it does not answer, or not as a catalog.
    """
    try:
        if properties.get("type") == "rest":
            return _TimedRestCatalog(name, timeout_seconds, **properties)
        return load_catalog(name, **properties)
    except Exception as error:  # noqa: BLE001 - pyiceberg raises whatever its HTTP session and parsers do
        raise CatalogUnavailable(_brief(error)) from error


class _TimedRestCatalog(RestCatalog):
    """pyiceberg sets no time limit: a catalog that hangs would hold its caller for ever."""

    def __init__(self, name: str, timeout_seconds: float, **properties: str) -> None:
        self._timeout_seconds = timeout_seconds
        super().__init__(name, **properties)

    def _config_headers(self, session: requests.Session) -> None:
        # The first thing done to each new session; the next may be a request for a token.
        for scheme in ("http://", "https://"):
            session.mount(scheme, _TimeLimit(self._timeout_seconds))
        super()._config_headers(session)


class _TimeLimit(requests.adapters.HTTPAdapter):
    """Ends requests that wait for a connection, or for more of an answer, longer than this."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        super().__init__()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401
        options["timeout"] = options.get("timeout") or self._timeout_seconds
        return super().send(request, **options)


class IcebergTable:
    """The table `namespace.name` of a pyiceberg catalog."""

    def __init__(self, catalog: Catalog, namespace: str, name: str) -> None:
        self._catalog = catalog
        self._identifier = (namespace, name)

    def load(self) -> TableView:
        try:
            return view_of(self._catalog.load_table(self._identifier))
        except NoSuchTableError as error:
            raise TableMissing(f"table {'.'.join(self._identifier)} is not in the catalog") from error
        except (*_UNREACHABLE, *_STRANGE) as error:
            raise CatalogUnavailable(f"loading {'.'.join(self._identifier)}: {_brief(error)}") from error

    def write_rows(self, view: TableView, rows: pa.Table) -> Sequence[Any]:
        table: Table = view.handle
        try:
            return write_data_files(table, rows)
        except OSError as error:
            raise CatalogUnavailable(
                f"writing data files below {table.location()}: {_brief(error)}"
            ) from error

    def commit(self, view: TableView, change: Change) -> None:
        table: Table = view.handle
        try:
            transaction = Transaction(table, autocommit=False)
            transaction.set_properties(dict(change.properties))
            if change.drop_properties:
                transaction.remove_properties(*change.drop_properties)
            append = transaction.update_snapshot(snapshot_properties=dict(change.summary)).merge_append()
            for file in change.files:
                append.append_data_file(file)
            updates, requirements = append._commit()
            transaction._stage(updates, requirements)
        except OSError as error:
            raise CatalogUnavailable(
                f"writing manifests below {table.location()}: {_brief(error)}"
            ) from error
        all_updates = transaction._updates
        if change.expire:
            removal = RemoveSnapshotsUpdate(snapshot_ids=list(change.expire))  # type: ignore[call-arg]
            all_updates += (removal,)
        all_requirements = (*transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid))
        try:
            self._catalog.commit_table(table, all_requirements, all_updates)
        except CommitFailedException as error:
            raise CommitConflict(_brief(error)) from error
        except requests.ConnectTimeout as error:
            raise CatalogUnavailable(_brief(error)) from error
        except (CommitStateUnknownException, *_UNREACHABLE, *_STRANGE) as error:
            # Whatever was answered, and by whom: the catalog may have acted.
            raise CommitUnknown(_brief(error)) from error

    def history(
        self, view: TableView, columns: Sequence[str], stream_ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        table: Table = view.handle
        if view.head_id is None:
            return
        scan = table.scan(
            row_filter=In("stream_id", set(stream_ids)),  # type: ignore[call-arg, arg-type]
            selected_fields=tuple(columns),
            snapshot_id=view.head_id,
        )
        try:
            yield from scan.to_arrow_batch_reader()
        except _UNREACHABLE as error:
            raise CatalogUnavailable(f"reading history of {table.name()}: {_brief(error)}") from error


def view_of(table: Table) -> TableView:
    """The values of a loaded table."""
    metadata = table.metadata
    head = metadata.current_snapshot()
    return TableView(
        uuid=str(metadata.table_uuid),
        head_id=head.snapshot_id if head else None,
        properties=dict(metadata.properties),
        snapshots={snapshot.snapshot_id: _snapshot_view(snapshot) for snapshot in metadata.snapshots},
        referenced=frozenset(ref.snapshot_id for ref in metadata.refs.values()),
        layout=f"{metadata.current_schema_id}.{metadata.default_spec_id}",
        handle=table,
    )


def _snapshot_view(snapshot: Snapshot) -> SnapshotView:
    summary = snapshot.summary
    extra = summary.additional_properties if summary else {}
    operation = summary.operation.value if summary else "append"
    # Engines that rewrite files may carry a summary's keys over: only an append is a writer's own.
    own = operation == "append"
    return SnapshotView(
        snapshot.snapshot_id,
        snapshot.parent_snapshot_id,
        snapshot.timestamp_ms,
        operation,
        extra.get(checkpoint.SUMMARY) if own else None,
        extra.get(checkpoint.EXCLUDED) if own else None,
        extra.get(FOREIGN) if own else None,
    )


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
