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
    oldest_first = sorted(view.snapshots.values(), key=lambda snapshot: snapshot.timestamp_ms)
    candidates = [
        snapshot.snapshot_id
        for snapshot in oldest_first
        if snapshot.timestamp_ms < youngest_ms
        and snapshot.snapshot_id not in view.referenced
        and snapshot.snapshot_id != view.head_id
    ][: min(excess, policy.per_commit)]
    going = set(candidates)
    needed: set[int] = set()
    for snapshot in view.snapshots.values():
        at_head = snapshot.snapshot_id == view.head_id
        if at_head or (snapshot.operation == "replace" and snapshot.snapshot_id not in going):
            needed.update(view.path_to_own(snapshot.snapshot_id))
    return tuple(snapshot_id for snapshot_id in candidates if snapshot_id not in needed)
