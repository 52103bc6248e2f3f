"""Which snapshots a commit removes from the table's metadata. Pure.

A commit's cost grows with the snapshots kept, so the writer expires in its own commits. It
deletes no file: Trino's remove_orphan_files does, days later.
"""

from __future__ import annotations

from dataclasses import dataclass

from seamark.lake.view import TableView


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """Bounds on what one commit may expire."""

    target_snapshots: int = 60
    per_commit: int = 10
    min_age_seconds: float = 900.0


def expirable(view: TableView, policy: ExpiryPolicy, now_ms: int) -> tuple[int, ...]:
    """Ids of the oldest snapshots that may go, so that about `target_snapshots` are left.

    Kept: what a branch or tag names, what is younger than the minimum age, and for the head
    and every kept `replace` snapshot the way back to its nearest own summary (a pin on such a
    snapshot reads its checkpoint from there).
    """
    excess = len(view.snapshots) + 1 - policy.target_snapshots
    if excess <= 0:
        return ()
    youngest_ms = now_ms - round(policy.min_age_seconds * 1000)
    may_go = {
        snapshot.snapshot_id
        for snapshot in view.snapshots.values()
        if snapshot.timestamp_ms < youngest_ms
        and snapshot.snapshot_id not in view.referenced
        and snapshot.snapshot_id != view.head_id
    }
    needed = set(view.path_to_own(view.head_id))
    for snapshot in view.snapshots.values():
        if snapshot.operation == "replace" and snapshot.snapshot_id not in may_go:
            needed.update(view.path_to_own(snapshot.snapshot_id))

    def oldest_first(snapshot_id: int) -> tuple[int, int, int]:
        # What leans on an own summary goes before it, the farthest first: wherever the list is
        # cut, a replace that stays keeps its way, and a long row of them cannot block the list.
        way = view.path_to_own(snapshot_id)
        return view.snapshots[way[-1]].timestamp_ms, way[-1], -len(way)

    going = sorted(may_go - needed, key=oldest_first)
    return tuple(going[: min(excess, policy.per_commit)])
