"""How much of a table's log an answer means. Knows vectors; must not know how rows are fetched."""

from __future__ import annotations

from dataclasses import dataclass, field

from seamark.query_gateway.cursor import Ended
from seamark.query_gateway.question import Vector


@dataclass(frozen=True, slots=True)
class Want:
    """How much of the log is meant. Nothing set: all that there is."""

    end: Vector | None = None
    """E is given: a cursor's."""
    floor: Vector = field(default_factory=dict)
    """E is at least this."""
    strict: bool = False
    """Where the floor is not reached, there is no answer."""
    snapshot_id: int | None = None
    """History of this S alone."""
    known_at_us: int | None = None
    """What was appended until then; without `end` that decides E."""
    revision: int | None = None
    """R of the cursor: what was shed since then cannot be given again."""
    max_staleness_ms: int | None = None
    ended: Ended | None = None
    """Streams that `end` does not name though it means them: `Opening` puts them in."""
    offsets_only: bool = False
    """Rows are of no use: where the tail does not say how far the log goes, Kafka is asked, and not read."""
