"""The live data files of a snapshot, as frames with their bounds. Manifests are immutable: each is read once.

Writers fold small manifests into large ones again and again, so that one commit in twenty brings
a new manifest with all files of the table: it is read into columns, not into an object a file.
"""

from __future__ import annotations

from io import BytesIO

import polars as pl
from polars_avro import read_avro
from pyiceberg.manifest import ManifestFile, read_manifest_list
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct.bounds import piece_schema, tracked
from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.direct.store import Stores, reading
from seamark.query_gateway.lru import Lru
from seamark.query_gateway.sources import SnapshotGone

_DELETED = 2
"""Status of an entry (Iceberg spec, "Manifests"): the file was live until this manifest's snapshot."""
_DATA = 0
"""Content of a data file; else it holds deletes."""
_NUMBER_BYTES = 8
"""Of a bound of any tracked column but text: little-endian (Iceberg spec, appendix D)."""


class LiveFiles:
    """Frames of live files, as pieces."""

    def __init__(self, stores: Stores, cache_bytes: int) -> None:
        """`cache_bytes`: of manifests, and as much again of snapshots."""
        self._stores = stores
        self._manifests: Lru[str, pl.DataFrame] = Lru(cache_bytes)
        self._snapshots: Lru[tuple[str, int], pl.DataFrame] = Lru(cache_bytes)

    def of(self, kind: RecordKind, table: Table, snapshot_id: int | None) -> pl.DataFrame:
        """Files of one snapshot; None: of a table that has none.

        Raises:
            SnapshotGone: it is not in the table's metadata, or a manifest is not there any more.
            DirectReadRefused: it has delete files.
            CatalogUnavailable: the store does not answer.
        """
        if snapshot_id is None:
            return pl.DataFrame(schema=piece_schema(kind))
        key = (str(table.metadata.table_uuid), snapshot_id)
        frame = self._snapshots.get(key)
        if frame is None:
            frames = [self._manifest(kind, table, one) for one in self._manifest_list(table, snapshot_id)]
            frame = pl.concat([pl.DataFrame(schema=piece_schema(kind)), *frames])
            self._snapshots.put(key, frame, int(frame.estimated_size()))
        return frame

    def _manifest_list(self, table: Table, snapshot_id: int) -> list[ManifestFile]:
        snapshot = table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise SnapshotGone(f"snapshot {snapshot_id} is not kept any more")
        with reading(snapshot.manifest_list):
            manifests = read_manifest_list(self._stores.input_file(table.io, snapshot.manifest_list))
            return [one for one in manifests if one.has_added_files() or one.has_existing_files()]

    def _manifest(self, kind: RecordKind, table: Table, manifest: ManifestFile) -> pl.DataFrame:
        path = manifest.manifest_path
        frame = self._manifests.get(path)
        if frame is None:
            with reading(path), self._stores.input_file(table.io, path).open() as stream:
                entries = read_avro(BytesIO(stream.read()))
            frame = _frame(kind, table.schema(), path, entries)
            self._manifests.put(path, frame, int(frame.estimated_size()))
        return frame


def _frame(kind: RecordKind, schema: Schema, path: str, entries: pl.DataFrame) -> pl.DataFrame:
    files = entries.filter(pl.col("status") != _DELETED)["data_file"].struct.unnest()
    if (files["content"] != _DATA).any():
        raise DirectReadRefused(f"manifest {path} names delete files, which only a whole engine reads")
    ids = {field.name: field.field_id for field in schema.fields}
    sizes = [_size(schema, name) for name in row_schema(kind).names]
    bounds = [
        _bound(f"{side}_bounds", ids.get(name, -1), dtype).alias(f"{name}_{end}")
        for name, dtype in tracked(kind).items()
        for side, end in (("lower", "min"), ("upper", "max"))
    ]
    return files.select(
        pl.col("file_path").alias("path"),
        pl.col("file_size_in_bytes").alias("size_bytes"),
        pl.col("record_count").alias("rows"),
        pl.concat_arr(sizes).alias("sizes"),
        *bounds,
    ).cast(piece_schema(kind))  # type: ignore[arg-type]


def _size(schema: Schema, column: str) -> pl.Expr:
    # Iceberg keeps sizes by the innermost fields.
    ids = [at for at in schema.field_ids if str(schema.find_column_name(at)).partition(".")[0] == column]
    element = pl.element().struct
    own = pl.col("column_sizes").list.eval(element.field("value").filter(element.field("key").is_in(ids)))
    return own.list.sum().fill_null(0)


def _bound(side: str, field_id: int, dtype: pl.DataType) -> pl.Expr:
    element = pl.element().struct
    raw = pl.col(side).list.eval(element.field("value").filter(element.field("key") == field_id)).list.first()
    if dtype == pl.String():
        return raw.cast(pl.String, strict=False)
    whole = pl.when(raw.bin.size() == _NUMBER_BYTES).then(raw)
    return whole.bin.reinterpret(dtype=dtype, endianness="little")
