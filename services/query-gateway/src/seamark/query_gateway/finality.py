"""When an interval of a symbol cannot change any more, by what the legs themselves have said. Pure.

Each second a leg publishes PROGRESS(T, V): it has received everything up to venue time T, and
all of it is acknowledged below the offsets V. At a record x of the feed events a leg is live if
its session is open and its last PROGRESS was appended at most 10 s before x. An interval is
settled at F, the first x at which every live leg, at least one, has T ≥ its end + grace; V(F) is
the greatest V of those legs. All of it is a function of the log.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

LIVE_US = 10_000_000
"""A leg whose last PROGRESS is older does not count."""
GRACE_US = 2_000_000
"""Venue times may be this much out of order."""


class Event(NamedTuple):
    """A session event or PROGRESS, in the order of the log of one shard."""

    kind: str
    appended_us: int
    leg: str
    session_id: str
    venue_us: int | None
    acked: tuple[tuple[str, int, int], ...]
    """(topic id, partition, next offset)."""


@dataclass(slots=True)
class _Leg:
    """A leg in its newest session."""

    session_id: str
    opened: bool
    """Whether its opening was seen; else it is before the events that were added."""
    progress_us: int | None = None
    venue_us: int = 0
    acked: tuple[tuple[str, int, int], ...] = ()


@dataclass(slots=True)
class Frontier:
    """The settled venue time of one shard, as its events come."""

    _legs: dict[str, _Leg] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    """Sessions that are closed, or whose leg has opened another."""
    _settled: array[int] = field(default_factory=lambda: array("q"))
    """Rising: venue time that every live leg had passed ..."""
    _offsets: dict[tuple[str, int], array[int]] = field(default_factory=dict)
    """... with these offsets, by topic id and partition; 0: none."""

    def add(self, event: Event) -> None:
        """The event behind those added before. One that is told again changes nothing."""
        if event.kind == "SESSION_CLOSED":
            self._over.add(event.session_id)
        elif event.session_id not in self._over:
            self._hear(event)
        self._note(event.appended_us)

    def _hear(self, event: Event) -> None:
        leg = self._legs.get(event.leg)
        opened = event.kind == "SESSION_OPENED"
        if leg is None or leg.session_id != event.session_id:
            if leg is not None:
                if leg.opened and not opened:
                    return  # late words of a session before
                self._over.add(leg.session_id)
            leg = self._legs[event.leg] = _Leg(event.session_id, opened)
        if event.kind == "PROGRESS" and event.venue_us is not None and event.venue_us >= leg.venue_us:
            leg.progress_us, leg.venue_us, leg.acked = event.appended_us, event.venue_us, event.acked

    def _note(self, at_us: int) -> None:
        live = [
            leg
            for leg in self._legs.values()
            if leg.progress_us is not None
            and leg.progress_us >= at_us - LIVE_US
            and leg.session_id not in self._over
        ]
        if not live:
            return
        reached = min(leg.venue_us for leg in live)
        if self._settled and reached <= self._settled[-1]:
            return
        vector: dict[tuple[str, int], int] = {}
        for leg in live:
            for topic_id, partition, offset in leg.acked:
                place = (topic_id, partition)
                vector[place] = max(vector.get(place, 0), offset)
        # A market settles each second for days: numbers side by side, not a dictionary for each.
        for place in vector.keys() - self._offsets.keys():
            self._offsets[place] = array("q", bytes(8 * len(self._settled)))
        for place, offsets in self._offsets.items():
            offsets.append(vector.get(place, 0))
        self._settled.append(reached)

    def __len__(self) -> int:
        """Times that were settled one after another."""
        return len(self._settled)

    def now(self) -> Settled:
        """What is settled by the events so far. It does not change with those that are added later."""
        return Settled(self._settled, dict(self._offsets), len(self._settled))

    def settled(self, end_us: int) -> Mapping[tuple[str, int], int] | None:
        """V(F) of an interval that ends at `end_us`; None: it is not settled."""
        return self.now().settled(end_us)


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """A frontier at one moment. Its columns may grow: what is settled is never taken back."""

    _settled: array[int]
    _offsets: Mapping[tuple[str, int], array[int]]
    _count: int
    """Rows of the columns at that moment."""

    def settled(self, end_us: int) -> Mapping[tuple[str, int], int] | None:
        """V(F) of an interval that ends at `end_us`; None: it is not settled."""
        at = bisect_left(self._settled, end_us + GRACE_US, hi=self._count)
        if at == self._count:
            return None
        return {place: offsets[at] for place, offsets in self._offsets.items() if offsets[at]}
