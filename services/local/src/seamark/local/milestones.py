"""What a run has to show for itself: its first new row, the writer's death, and its return. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from seamark.local.readings import Reading


@dataclass(slots=True)
class Milestones:
    """How far a run has come. Instants are of the monotonic clock, as those of readings."""

    began_seconds: float
    rows_before: int
    """Rows of trades and quotes that earlier runs left."""
    first_row_seconds: float | None = None
    """From the start until a new row could be queried."""
    killed: Reading | None = None
    """What there was when the writer was dead."""
    rows_gone: int = 0
    """Rows in its memory then, roughly."""
    back_seconds: float | None = None
    """From its death until more rows were there."""

    def note(self, reading: Reading) -> list[str]:
        """Take in the newest reading. Returns what has come true with it, in words."""
        news = []
        if self.first_row_seconds is None and reading.market_rows > self.rows_before:
            self.first_row_seconds = reading.at_seconds - self.began_seconds
            news.append(f"first new row can be queried, {self.first_row_seconds:.1f} s after the start")
        killed = self.killed
        if killed is not None and self.back_seconds is None and reading.market_rows > killed.market_rows:
            self.back_seconds = reading.at_seconds - killed.at_seconds
            news.append(f"the writer commits again, {self.back_seconds:.1f} s after its death")
        return news

    def worth_killing(self, reading: Reading) -> bool:
        """The writer was not killed yet, has committed, and would lose something."""
        return self.killed is None and self.first_row_seconds is not None and bool(reading.buffered_rows)

    def summary(self) -> list[str]:
        """The same, looking back."""
        found = []
        if self.first_row_seconds is not None:
            found.append(f"first new row queryable {self.first_row_seconds:.1f} s after the start")
        if self.back_seconds is not None:
            found.append(
                f"writer killed once with about {self.rows_gone:,} rows in memory; "
                f"new rows committed {self.back_seconds:.1f} s later"
            )
        return found

    def too_little(self, feed: str) -> list[str]:
        """What did not happen, so that nothing is proven. `feed`: where to look when nothing came."""
        problems = []
        if self.first_row_seconds is None:
            problems.append(
                f"nothing new was committed: the run was too short, or nothing came from the venue ({feed})"
            )
        if self.killed is None:
            problems.append(
                "the writer was never killed: the run was too short to prove that it survives that"
            )
        elif self.back_seconds is None:
            problems.append("the writer committed nothing after it was killed: the run was too short")
        return problems
