"""Changes to rows that no writer made: the mark that each later commit carries until they are adopted.

Kept as table property and, like the checkpoint, in each snapshot's summary: snapshots expire, and
the rows that a forgotten one has changed are in every snapshot behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seamark.lake.errors import CheckpointInvalid

FOREIGN = "seamark.foreign"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Foreign:
    """Snapshots that changed rows and are not a writer's, since the last `adopt --at-snapshot`."""

    count: int = 0
    first: tuple[int, ...] = ()
    """Ids of the first five, oldest first. No more: the mark is kept per snapshot and must not grow."""

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        """The snapshots by name: `snapshot 3`, `snapshots 3, 4`, `snapshots 3, 4, 5, 6, 7 and 2 more`."""
        more = self.count - len(self.first)
        return f"snapshot{'s' * (self.count != 1)} {', '.join(map(str, self.first))}{f' and {more} more' * (more > 0)}"

    def followed_by(self, snapshot_ids: Sequence[int]) -> Foreign:
        """This mark and newer snapshots, oldest first."""
        return Foreign(self.count + len(snapshot_ids), (*self.first, *snapshot_ids)[:_NAMED])

    def to_text(self) -> str:
        """Text for property and summary, at most 120 bytes; empty: there is nothing to mark."""
        return f"{self.count}:{','.join(map(str, self.first))}" if self.count else ""

    @classmethod
    def from_text(cls, text: str | None) -> Foreign:
        """What `to_text` made; None or empty: nothing is marked.

        Raises:
            CheckpointInvalid: it made no such text.
        """
        if not text:
            return cls()
        try:
            count, ids = text.split(":")
            mark = cls(int(count), tuple(int(one) for one in ids.split(",")))
        except ValueError as error:
            raise CheckpointInvalid(f"{FOREIGN} was {text!r}: {error}") from error
        if mark.count < len(mark.first):
            raise CheckpointInvalid(f"{FOREIGN} was {text!r}: count must be at least {len(mark.first)}")
        return mark
