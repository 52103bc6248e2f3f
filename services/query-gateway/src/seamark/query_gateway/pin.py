"""What a snapshot holds, as offsets: from one load of the table to H(S). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from seamark.lake import checkpoint
from seamark.lake.checkpoint import Checkpoint, ExcludedRange, StreamPartition, excluded_from_text
from seamark.lake.errors import CheckpointInvalid
from seamark.lake.streams import Stream, open_streams
from seamark.lake.view import SnapshotView, TableView
from seamark.query_gateway.errors import Gone
from seamark.query_gateway.question import Vector


@dataclass(frozen=True, slots=True)
class Pin:
    """A snapshot S with its vector: history(S) is exactly the accepted rows below H(S)."""

    table: str
    snapshot_id: int | None
    """None: the table has no snapshot; then nothing is below H."""
    watermark: Vector
    """H(S), of closed streams too."""
    append_us: Vector
    """Running maximum of the append time below H(S)."""
    revision: int
    excluded: tuple[ExcludedRange, ...]
    streams: Mapping[int, Stream]
    view: TableView = field(repr=False, compare=False)
    """The load it was made from."""
    doubt: str = ""
    """Why answers from it are not exact: a foreign snapshot, a rollback."""

    @property
    def open_partitions(self) -> tuple[StreamPartition, ...]:
        """Partitions that may hold rows behind H: those of streams that no other succeeds."""
        return tuple(
            StreamPartition(stream_id, partition)
            for stream_id, stream in sorted(open_streams(self.streams).items())
            for partition in range(stream.partitions)
        )

    def topic_of(self, where: StreamPartition) -> str:
        return self.streams[where.stream_id].topic


@dataclass(frozen=True, slots=True)
class Known:
    """Rows that somebody has read and kept: all below `end`, of a table of this revision."""

    revision: int | None
    """None: nothing is kept."""
    end: Vector

    def covers(self, pin: Pin) -> bool:
        """Whether history(S) has no row besides. With another revision, ranges may have come back that were
        taken out."""
        return pin.revision == self.revision and all(
            offset <= self.end.get(where, 0) for where, offset in pin.watermark.items()
        )


Ranges: TypeAlias = Callable[[str | None], tuple[ExcludedRange, ...]]
"""Reads the shed and lost ranges that a property or summary names."""


def pin_head(table: str, view: TableView, ranges: Ranges = excluded_from_text) -> Pin:
    """The current snapshot. It is always pinned; where it is not as the writer left it, `doubt` says so.

    A foreign append or delete behind the head, however far, or a branch moved back under its properties,
    leaves no vector that its rows could be proven by: answers go on, none of them exact, until adopted.
    """
    doubt = _changed_by_others(table, view, view.head_id)
    if not doubt and (rolled_back := view.rolled_back()) is not None:
        doubt = f"table {table} was rolled back: {rolled_back}"
    own = view.own_summary(view.head_id)
    if own is not None:
        return _pin(table, view, view.head_id, own, ranges, doubt)
    path = view.path_to_own(view.head_id)
    expired = bool(path) and view.snapshots[path[-1]].parent_id is not None
    # Behind a parent that has expired stand the writer's rows: without a vector they would be given twice.
    points = view.checkpoints if expired else {}
    excluded = ranges(view.excluded_text)
    return _made(table, view, view.head_id, points, view.revision, excluded, doubt)


def pin_snapshot(table: str, view: TableView, snapshot_id: int, ranges: Ranges = excluded_from_text) -> Pin:
    """A snapshot by its id: by its own summary, or that of the nearest ancestor with only `replace` between.

    Where that summary carries foreign changes from before it, `doubt` names them.

    Raises:
        Gone: it is not in the table's metadata, or what it holds cannot be said.
    """
    if snapshot_id not in view.snapshots:
        raise Gone(f"snapshot {snapshot_id} of table {table} is not kept any more", "snapshot")
    path = view.path_to_own(snapshot_id)
    own = view.snapshots[path[-1]]
    if own.checkpoint_text is None:
        raise Gone(
            f"snapshot {snapshot_id} of table {table} has no snapshot of the writer behind it", "snapshot"
        )
    for between in path[:-1]:
        if view.snapshots[between].operation != "replace":
            raise Gone(
                f"snapshot {snapshot_id} of table {table} holds changes by snapshot {between} "
                f"({view.snapshots[between].operation}), which the writer did not make",
                "snapshot",
            )
    try:
        return _pin(table, view, snapshot_id, own, ranges, _changed_by_others(table, view, snapshot_id))
    except CheckpointInvalid as error:
        raise Gone(f"snapshot {snapshot_id} of table {table} cannot be read: {error}", "snapshot") from error


def _changed_by_others(table: str, view: TableView, snapshot_id: int | None) -> str:
    foreign = view.foreign(snapshot_id)
    return f"table {table} holds changes by {foreign}, which the writer did not make" if foreign else ""


def _pin(
    table: str, view: TableView, snapshot_id: int | None, own: SnapshotView, ranges: Ranges, doubt: str
) -> Pin:
    assert own.checkpoint_text is not None
    points, revision = checkpoint.from_summary(own.checkpoint_text)
    return _made(table, view, snapshot_id, points, revision, ranges(own.excluded_text), doubt)


def _made(
    table: str,
    view: TableView,
    snapshot_id: int | None,
    points: Mapping[StreamPartition, Checkpoint],
    revision: int,
    excluded: tuple[ExcludedRange, ...],
    doubt: str,
) -> Pin:
    return Pin(
        table=table,
        snapshot_id=snapshot_id,
        watermark={where: point.next for where, point in points.items()},
        append_us={where: point.append_us for where, point in points.items()},
        revision=revision,
        excluded=excluded,
        streams=view.streams,
        view=view,
        doubt=doubt,
    )
