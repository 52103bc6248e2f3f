"""What of a session's records is acknowledged, and so what a PROGRESS may claim.

Pure. Sent records are counted in intervals, one for each mark, and every acknowledgement is
credited to the interval its record was sent in: a claim made at a mark stands once all
intervals up to it are acknowledged, however acknowledgements of partitions interleave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

TopicPartition = tuple[str, int]


class Delivered(Protocol):
    """Where the log put a record."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """All that the session had received when its venue time reached `venue_us` is in the log."""

    venue_us: int
    """T: greatest venue time received, microseconds."""
    acked: Mapping[TopicPartition, int]
    """V: by (topic, partition), the offset behind the leg's last acknowledged record."""


class AckedOffsets:
    """V of a leg, over all its sessions: a new session does not forget what older ones have sent."""

    def __init__(self, ends: Mapping[TopicPartition, int] = MappingProxyType({})) -> None:
        """`ends`: offsets that are behind everything an earlier life of the leg has sent."""
        self._next: dict[TopicPartition, int] = dict(ends)
        self._unplaced: set[TopicPartition] = set()

    def add(self, topic: str, partition: int, offset: int) -> None:
        """A record is in the log at `offset`; negative: it is there, nobody knows where."""
        where = (topic, partition)
        if offset >= self._next.get(where, 0):
            self._next[where] = offset + 1
            self._unplaced.discard(where)
        elif offset < 0:
            self._unplaced.add(where)

    @property
    def known(self) -> bool:
        """Whether V covers every acknowledged record.

        A repeated batch that the broker has already forgotten is acknowledged without its
        offset. The next record of the partition, which is behind it, makes V whole again.
        """
        return not self._unplaced

    def snapshot(self) -> Mapping[TopicPartition, int]:
        """V now."""
        return MappingProxyType(dict(self._next))


class Interval:
    """The records sent between two marks. A failed one is never acknowledged."""

    __slots__ = ("_offsets", "acked", "failed", "sent")

    def __init__(self, offsets: AckedOffsets) -> None:
        self._offsets = offsets
        self.sent = self.acked = 0
        self.failed = False

    def on_delivery(self, error: object | None, record: Delivered) -> None:
        """The producer's report on one record of the interval."""
        if error is None:
            self.acked += 1
            self._offsets.add(record.topic(), record.partition(), record.offset())
        else:
            self.failed = True

    def on_beside(self, error: object | None, _record: Delivered) -> None:
        """The report on a refused frame or a feed event: it counts as received, its offset is of no interest."""
        if error is None:
            self.acked += 1
        else:
            self.failed = True

    @property
    def complete(self) -> bool:
        return self.acked == self.sent and not self.failed


class Progress:
    """What one session may claim."""

    def __init__(self, offsets: AckedOffsets) -> None:
        self._offsets = offsets
        self._marked: deque[tuple[Interval, int | None]] = deque()
        self._at_last_mark: int | None = None
        self.venue_us: int | None = None
        """Greatest venue time received."""
        self.interval = Interval(offsets)
        """The open one: count what is sent in it, and give its methods to the producer."""

    @property
    def idle(self) -> bool:
        """Whether no later venue time was received since the last mark."""
        return self.venue_us == self._at_last_mark

    def received(self, venue_us: int) -> None:
        """A frame with this venue time was received."""
        if self.venue_us is None or venue_us > self.venue_us:
            self.venue_us = venue_us

    def lost(self) -> None:
        """A received frame will never be in the log: nothing from here on can be claimed."""
        self.interval.failed = True

    @property
    def failed(self) -> bool:
        """Whether anything received is lost."""
        return self.interval.failed or any(interval.failed for interval, _ in self._marked)

    def mark(self) -> None:
        """From now on, what was received so far may be claimed as soon as it is acknowledged."""
        self._marked.append((self.interval, self.venue_us))
        self._at_last_mark = self.venue_us
        failed = self.interval.failed
        self.interval = Interval(self._offsets)
        self.interval.failed = failed

    def claim(self) -> Claim | None:
        """The greatest claim that stands now and has not been given yet, or None."""
        venue_us: int | None = None
        while self._offsets.known and self._marked and self._marked[0][0].complete:
            _, marked_us = self._marked.popleft()
            venue_us = marked_us if marked_us is not None else venue_us
        return None if venue_us is None else Claim(venue_us, self._offsets.snapshot())
