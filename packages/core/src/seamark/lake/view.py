"""What one load of a table says: values only, so that decisions over it are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from seamark.lake import checkpoint
from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.errors import CheckpointInvalid
from seamark.lake.foreign import FOREIGN, Foreign
from seamark.lake.streams import NEXT_STREAM_ID, Stream, open_streams, streams_from_properties


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """One snapshot of the table."""

    snapshot_id: int
    parent_id: int | None
    timestamp_ms: int
    operation: str
    """append, replace, overwrite or delete."""
    checkpoint_text: str | None
    """Our own summary, if the writer made this snapshot."""
    excluded_text: str | None = None
    foreign_text: str | None = None


@dataclass(frozen=True)
class TableView:
    """A table as one load saw it."""

    uuid: str
    head_id: int | None
    properties: Mapping[str, str]
    snapshots: Mapping[int, SnapshotView]
    referenced: frozenset[int]
    """Snapshots that a branch or tag names."""
    layout: str
    """Names schema and partition spec: data files of another layout do not fit."""
    handle: Any = field(repr=False, compare=False)
    """What the LakeTable that made this view needs to commit on top of it."""

    @cached_property
    def streams(self) -> dict[int, Stream]:
        return streams_from_properties(self.properties)

    @property
    def next_stream_id(self) -> int:
        """The id of the next registry entry."""
        return max(int(self.properties.get(NEXT_STREAM_ID, "1")), max(self.streams, default=0) + 1)

    @cached_property
    def checkpoints(self) -> dict[StreamPartition, Checkpoint]:
        return checkpoint.from_properties(self.properties)

    @property
    def excluded_text(self) -> str:
        """Shed and lost ranges as `lake.excluded` reads them; empty: there are none."""
        return self.properties.get(checkpoint.EXCLUDED, "")

    @property
    def foreign_text(self) -> str:
        """The mark of foreign changes as the last own commit left it; empty: there are none."""
        return self.properties.get(FOREIGN, "")

    @property
    def revision(self) -> int:
        text = self.properties.get(checkpoint.REVISION, "0")
        if not (text.isascii() and text.isdecimal()):
            raise CheckpointInvalid(
                f"table property {checkpoint.REVISION} was {text!r}, must be a whole number"
            )
        return int(text)

    def path_to_own(self, snapshot_id: int | None) -> tuple[int, ...]:
        """Snapshots from `snapshot_id` back to the nearest one that a writer made, both included.

        Without one among the kept snapshots: all that are kept of the way.
        """
        path = []
        at = self.snapshots.get(snapshot_id) if snapshot_id is not None else None
        while at is not None:
            path.append(at.snapshot_id)
            if at.checkpoint_text is not None:
                break
            at = self.snapshots.get(at.parent_id) if at.parent_id is not None else None
        return tuple(path)

    def own_summary(self, snapshot_id: int | None) -> SnapshotView | None:
        """The nearest snapshot at or behind `snapshot_id` that a writer made."""
        path = self.path_to_own(snapshot_id)
        last = self.snapshots[path[-1]] if path else None
        return last if last is not None and last.checkpoint_text is not None else None

    def foreign(self, snapshot_id: int | None) -> Foreign:
        """Changes to the rows of `snapshot_id` that no writer made and nobody has adopted.

        Those on top of the nearest own snapshot, and what that one's summary carries of older ones.

        Raises:
            CheckpointInvalid: that summary's mark cannot be read.
        """
        behind = [self.snapshots[one] for one in reversed(self.path_to_own(snapshot_id))]
        carried = behind[0].foreign_text if behind else None
        return Foreign.from_text(carried).followed_by(
            [
                snapshot.snapshot_id
                for snapshot in behind
                if snapshot.checkpoint_text is None and snapshot.operation != "replace"
            ]
        )

    def rolled_back(self) -> str | None:
        """Why properties and head do not belong together, or None if they do.

        A branch can be moved back; its properties stay. Appending to such a table would skip
        or double rows.
        """
        if not self.checkpoints:
            return None
        own = self.own_summary(self.head_id)
        if own is None:
            return (
                f"head {self.head_id} has no snapshot of the writer behind it, but the table has checkpoints"
            )
        assert own.checkpoint_text is not None
        at_head, revision = checkpoint.from_summary(own.checkpoint_text)
        carried = own.foreign_text or ""
        if at_head == self.checkpoints and revision == self.revision and carried == self.foreign_text:
            return None
        differing = sorted(
            where
            for where in at_head.keys() | self.checkpoints.keys()
            if at_head.get(where) != self.checkpoints.get(where)
        )
        where = differing[0] if differing else None
        if where is not None:
            detail = f"{where}: property {self.checkpoints.get(where)}, summary {at_head.get(where)}"
        elif revision != self.revision:
            detail = f"revision is {self.revision} against {revision}"
        else:
            detail = f"{FOREIGN} is {self.foreign_text!r} against {carried!r}"
        return f"snapshot {own.snapshot_id} behind head {self.head_id} differs from the properties ({detail})"

    def stream_of(self, topic: str) -> Stream | None:
        """The open stream of a topic."""
        open_ = [stream for stream in open_streams(self.streams).values() if stream.topic == topic]
        if len(open_) > 1:
            raise CheckpointInvalid(f"topic {topic} has {len(open_)} open streams, must have one")
        return open_[0] if open_ else None


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to a table. It always adds a snapshot, with or without files."""

    properties: Mapping[str, str]
    summary: Mapping[str, str]
    files: Sequence[Any] = ()
    """Data files from `LakeTable.write_rows`."""
    expire: tuple[int, ...] = ()
    """Snapshots to remove from the metadata."""
    drop_properties: tuple[str, ...] = ()
    """Properties to remove."""


class LakeTable(Protocol):
    """One Iceberg table. The in-memory twin and the real one run the same tests."""

    def load(self) -> TableView:
        """The table now, from the catalog, nothing cached.

        Raises:
            CatalogUnavailable, TableMissing
        """
        ...

    def write_rows(self, view: TableView, rows: pa.Table) -> Sequence[Any]:
        """Write rows (`row_schema`, in declared sort order) as data files; nothing sees them yet.

        Raises:
            CatalogUnavailable: the object store did not take them.
        """
        ...

    def commit(self, view: TableView, change: Change) -> None:
        """One atomic step from `view`: snapshot, properties and expiry, or nothing.

        Raises:
            CommitConflict: the head or the table is not that of `view` any more.
            CommitUnknown: it may or may not have landed.
            CatalogUnavailable: it did not land.
        """
        ...

    def history(self, view: TableView, columns: Sequence[str], stream_ids: Sequence[int]) -> Any:  # noqa: ANN401
        """Iterator of Arrow record batches: rows of the streams at `view`'s head, in no order."""
        ...
