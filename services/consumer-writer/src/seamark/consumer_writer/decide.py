"""Range-CAS, the decision: may this batch be committed onto this table? Pure.

Compare side: every range must begin exactly at the table's `next`. Set side: the commit
that carries the rows. Between the two stands the catalog's head requirement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seamark.consumer_writer.batch import Batch
from seamark.lake import checkpoint
from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.foreign import FOREIGN
from seamark.lake.streams import open_streams
from seamark.lake.view import TableView


@dataclass(frozen=True, slots=True)
class Landed:
    """An earlier attempt of this batch is in the table (all of it: a commit is atomic)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Every range begins where the table ends: commit these checkpoints."""

    checkpoints: dict[StreamPartition, Checkpoint]
    """All of the table's partitions after the commit; the batch's own ones are in `moved`."""
    moved: dict[StreamPartition, Checkpoint]


@dataclass(frozen=True, slots=True)
class Fenced:
    """Somebody else moved the table on. Drop this batch and all that was read after it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The table is not in a state to be written to; only its operator can say how to go on."""

    reason: str


Decision = Landed | Stage | Fenced | Halt


def decide(view: TableView, batch: Batch, attempt: int, table_uuid: str) -> Decision:
    """What to do with `batch` on the table as just loaded.

    `table_uuid` is that of the table the writer began with; `attempt` numbers this attempt.
    """
    if view.uuid != table_uuid:
        return Halt(
            f"table uuid was {view.uuid}, must be {table_uuid}: the table was replaced; restart the writer"
        )
    if (reason := view.rolled_back()) is not None:
        return Halt(f"rolled_back: {reason}. Way on: adopt --at-snapshot {view.head_id}")
    points = view.checkpoints
    for where in batch.ranges:
        if where not in points:
            return Halt(f"table has no checkpoint for {where}. Way on: adopt the topic")
    if any(points[where].batch_id == batch.batch_id for where in batch.ranges):
        return Landed()
    takes_rows = open_streams(view.streams)
    for where, range_ in batch.ranges.items():
        if where.stream_id not in takes_rows:
            return Fenced(f"stream {where.stream_id} was closed")
        if points[where].next != range_.first:
            return Fenced(f"{where}: table is at {points[where].next}, batch begins at {range_.first}")
    moved = {
        where: replace(
            points[where].advanced(range_.next, range_.leader_epoch, range_.append_us, range_.counters),
            batch_id=batch.batch_id,
            attempt=attempt,
        )
        for where, range_ in batch.ranges.items()
    }
    for where, point in moved.items():
        point.check_accounts(where, view.streams[where.stream_id].start[where.partition])
    return Stage({**points, **moved}, moved)


def summary_of(
    checkpoints: dict[StreamPartition, Checkpoint], revision: int, excluded: str, foreign: str
) -> dict[str, str]:
    """The summary entries of a snapshot that leaves the table at `checkpoints`.

    `excluded` and `foreign` are what the properties of the same names hold then; empty: nothing.
    """
    summary = {checkpoint.SUMMARY: checkpoint.to_summary(checkpoints, revision)}
    if excluded:
        summary[checkpoint.EXCLUDED] = excluded
    if foreign:
        summary[FOREIGN] = foreign
    return summary
