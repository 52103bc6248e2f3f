"""State files: where the fold's state at a checkpoint is kept, and how it is made again.

A state file is immutable, written before the commit that names it, and lies outside every
table. It is an optimisation with a definition behind it: state(H) is the fold over the
accepted history below H, so a missing or damaged file costs time, never exactness.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from seamark.lake.checkpoint import EXCLUDED_FILE, Checkpoint, StreamPartition, from_summary
from seamark.lake.errors import CatalogUnavailable, StateMissing
from seamark.lake.streams import chain
from seamark.lake.view import LakeTable, TableView
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.sequencing.errors import StateCorrupt
from seamark.sequencing.rebuild import HISTORY_COLUMNS, Rebuild
from seamark.sequencing.state import PartitionState, load


class StateStore(Protocol):
    """Named immutable byte strings."""

    def put(self, name: str, data: bytes) -> None:
        """Write; durable on return. Raises CatalogUnavailable."""
        ...

    def get(self, name: str) -> bytes:
        """Read. Raises StateMissing where it is not, CatalogUnavailable where nobody can say."""
        ...

    def names(self, below: str) -> Sequence[str]:
        """All names that begin with `below` + '/'."""
        ...

    def delete(self, name: str) -> None:
        """Delete; no error if it is gone already."""
        ...


class ObjectStateStore:
    """A StateStore in a folder of an object store or file system.

    `uri`: s3://bucket/folder or file:///folder. `properties`: the catalog's s3.* properties.
    """

    def __init__(self, uri: str, properties: Mapping[str, str]) -> None:
        if uri.startswith("s3://"):
            endpoint = properties.get("s3.endpoint", "")
            self._fs: fs.FileSystem = fs.S3FileSystem(
                access_key=properties.get("s3.access-key-id"),
                secret_key=properties.get("s3.secret-access-key"),
                region=properties.get("s3.region"),
                endpoint_override=endpoint or None,
                scheme="http" if endpoint.startswith("http://") else "https",
                connect_timeout=5,
                request_timeout=30,
            )
            self._root = uri.removeprefix("s3://").rstrip("/")
        elif uri.startswith("file://"):
            self._fs = fs.LocalFileSystem()
            self._root = uri.removeprefix("file://").rstrip("/")
        else:
            raise ValueError(f"state_uri was {uri!r}, must begin with s3:// or file://")

    def put(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        try:
            if isinstance(self._fs, fs.LocalFileSystem):
                self._fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
        except OSError as error:
            raise CatalogUnavailable(f"writing state file {path}: {error}") from error

    def get(self, name: str) -> bytes:
        path = f"{self._root}/{name}"
        try:
            with self._fs.open_input_stream(path) as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError as error:
            raise StateMissing(f"state file {path} is not there") from error
        except OSError as error:
            raise CatalogUnavailable(f"reading state file {path}: {error}") from error

    def names(self, below: str) -> Sequence[str]:
        selector = fs.FileSelector(f"{self._root}/{below}", recursive=True, allow_not_found=True)
        try:
            infos = self._fs.get_file_info(selector)
        except OSError as error:
            raise CatalogUnavailable(f"listing state files below {below}: {error}") from error
        return [info.path[len(self._root) + 1 :] for info in infos if info.type == fs.FileType.File]

    def delete(self, name: str) -> None:
        try:
            self._fs.delete_file(f"{self._root}/{name}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CatalogUnavailable(f"deleting state file {name}: {error}") from error


def restore(
    table: LakeTable,
    view: TableView,
    store: StateStore,
    kind: RecordKind,
    wanted: Sequence[StreamPartition],
    on_rebuild: Callable[[StreamPartition, str], None],
) -> dict[StreamPartition, PartitionState]:
    """state(H) of each wanted partition: from its file, read once more if damaged, else rebuilt.

    `on_rebuild(partition, reason)` is told of every state that had to be made from history.

    Raises:
        CatalogUnavailable: neither file nor history can be read now.
    """
    states: dict[StreamPartition, PartitionState] = {}
    missing: dict[StreamPartition, str] = {}
    files: dict[str, dict[str, PartitionState]] = {}
    for where in wanted:
        point = view.checkpoints[where]
        name = point.state_name(view.uuid)
        try:
            if name not in files:
                files[name] = _read(store, name)
            states[where] = files[name][str(where)]
        except (StateMissing, StateCorrupt) as error:
            missing[where] = str(error)
        except KeyError:
            missing[where] = f"state file {name} does not hold {where}"
    for where, reason in missing.items():
        on_rebuild(where, reason)
    states.update(rebuild(table, view, kind, list(missing)))
    return states


def _read(store: StateStore, name: str) -> dict[str, PartitionState]:
    try:
        return load(store.get(name))
    except (StateMissing, StateCorrupt):
        time.sleep(0.05)  # an object store may answer late or cut short once; twice is a fact
        return load(store.get(name))


def rebuild(
    table: LakeTable, view: TableView, kind: RecordKind, wanted: Sequence[StreamPartition]
) -> dict[StreamPartition, PartitionState]:
    """state(H) made from history alone, by its definition.

    Rows of the streams that a stream succeeds count where its routing puts their symbol.
    """
    points = {where: view.checkpoints[where] for where in wanted}
    if not kind.sequenced:
        return {where: PartitionState(append_us=point.append_us) for where, point in points.items()}
    states: dict[StreamPartition, PartitionState] = {}
    for stream_id in {where.stream_id for where in wanted}:
        ids = chain(view.streams, stream_id)
        routing = Routing.from_json(view.streams[stream_id].routing)
        partitions = {where.partition for where in wanted if where.stream_id == stream_id}
        fold = Rebuild(kind, stream_id, routing.partition_of)
        batches: Sequence[pa.RecordBatch] = table.history(view, HISTORY_COLUMNS, ids)
        for batch in batches:
            fold.add(batch)
        for partition in partitions:
            where = StreamPartition(stream_id, partition)
            states[where] = fold.state(partition, points[where].append_us)
    return states


def named_states(view: TableView) -> set[str]:
    """Names of the files in the state store that a property or a kept summary names."""
    points: list[Checkpoint] = list(view.checkpoints.values())
    texts = [view.excluded_text, *(snapshot.excluded_text for snapshot in view.snapshots.values())]
    for snapshot in view.snapshots.values():
        if snapshot.checkpoint_text is not None:
            points.extend(from_summary(snapshot.checkpoint_text)[0].values())
    return {point.state_name(view.uuid) for point in points} | {
        text.removeprefix(EXCLUDED_FILE)
        for text in texts
        if text is not None and text.startswith(EXCLUDED_FILE)
    }
