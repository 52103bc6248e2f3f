"""One partition's tail: [lo, hi), nothing of it missing. Pure: values in, values out.

Knows what was observed and what of it the table's commit confirms. Must not know Kafka, the
catalog or a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from seamark.lake.checkpoint import Checkpoint, Counters, StreamPartition
from seamark.stream.log import TopicPartition
from seamark.tail_cache.blocks import Block, TimeSpan, appended


class Stop(Enum):
    """Why a partition is read no more although it is held. The value says what ends it."""

    LOG_LOST = "the log is not where reading stood: begun anew from the table"
    UNREADABLE = "a record that this build cannot read: begun anew when the table is past it"
    FOREIGN_TOPIC = "the topic was re-created: until the table has a stream for it"
    CLOSED = "the stream was closed: let go with its last rows"


END_COUNTS = (None, Stop.UNREADABLE)
"""Where the log is the one that was read, so that its end is worth asking for."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A partition's tail at one moment."""

    where: StreamPartition
    topic: TopicPartition
    lo: int
    hi: int
    append_us: int
    """Running maximum of the append time at hi."""
    end: int
    """The log's end when it was last heard of."""
    committed: Checkpoint
    """H when the table was last loaded."""
    ready: bool
    """Past the end that was seen when reading began."""
    stopped: Stop | None
    """None: it is read on."""
    blocks: tuple[Block, ...]
    end_as_of_us: int = 0
    """All that had been appended by then is below `end`; 0: nobody knows."""
    paused: bool = False
    """Nothing is read now: neither memory nor disk takes more."""
    appends: AppendTimes = field(default_factory=lambda: AppendTimes())
    """The partition's own: may know more than this view holds."""

    @property
    def halted(self) -> str:
        """Why nothing more is read, as the contract names it; empty: it is read on."""
        if self.stopped is not None:
            return self.stopped.name
        return "PAUSED" if self.paused else ""

    def appended_us(self, offset: int) -> int | None:
        """Append time of the first record held at or beyond `offset`, or a little earlier; None: there is none."""
        first = max(offset, self.lo)
        return self.appends.at(first) if first < self.hi else None

    def times(self) -> Mapping[str, TimeSpan]:
        """Least and greatest of each time over all rows; empty if there are none."""
        spans: dict[str, TimeSpan] = {}
        for block in self.blocks:
            for name, span in block.times.items():
                known = spans.get(name, span)
                spans[name] = TimeSpan(
                    min(known.least_us, span.least_us), max(known.greatest_us, span.greatest_us)
                )
        return spans


@dataclass(frozen=True, slots=True)
class Differs:
    """The commit's counters are not those of the tail over the same offsets."""

    first: int
    next: int
    tail: Counters
    commit: Counters


@dataclass(frozen=True, slots=True)
class Excluded:
    """The commit took offsets out of history: state over them is not the table's any more."""

    first: int
    next: int
    shed: int
    lost: int


@dataclass(slots=True, eq=False)
class PartitionTail:
    """What is held of one partition. Changed by one thread; readers get a `View`."""

    where: StreamPartition
    topic: TopicPartition
    committed: Checkpoint
    """H when the table was last loaded."""
    lo: int
    hi: int
    append_us: int
    ready_at: int
    """The log's end when reading began."""
    end: int
    end_as_of_us: int = 0
    """The log's end was asked for then, and was not above `end`."""
    stopped: Stop | None = None
    blocks: tuple[Block, ...] = ()
    appends: AppendTimes = field(default_factory=lambda: AppendTimes())
    vouched: int = field(init=False)
    """Records below it are known to be of the stream's own topic."""
    _verified: Checkpoint = field(init=False)
    """The last commit whose counters were found equal to the tail's."""
    _rejects: list[int] = field(default_factory=list)
    """Offsets of dead letters, from `_verified.next` on."""

    def __post_init__(self) -> None:
        self._verified = self.committed
        self.vouched = self.hi

    def view(self, paused: bool = False) -> View:
        return View(
            self.where,
            self.topic,
            self.lo,
            self.hi,
            self.append_us,
            max(self.end, self.hi),
            self.committed,
            self.hi >= self.ready_at,
            self.stopped,
            self.blocks,
            self.end_as_of_us,
            paused,
            self.appends,
        )

    def hear(self, end: int, as_of_us: int) -> None:
        """The log's end was asked for at `as_of_us`, and was this. Of a log that is not the one that was read,
        the end says nothing."""
        if self.stopped in END_COUNTS:
            self.end = max(self.end, end)
            self.end_as_of_us = max(self.end_as_of_us, as_of_us)

    def append(self, block: Block, rejects: list[int], append_us: int) -> None:
        """Take what the offsets [hi, block.hi) came to. `append_us`: its append time at the end.

        Raises:
            ValueError: the block does not begin at hi.
        """
        if block.lo != self.hi:
            raise ValueError(
                f"{self.where}: block began at {block.lo}, must begin at hi, which was {self.hi}"
            )
        self.blocks = appended(self.blocks, block, self.committed.next)
        self._rejects += rejects
        self.hi, self.append_us = block.hi, append_us

    def commit(self, point: Checkpoint) -> Differs | Excluded | None:
        """Hear of the table's checkpoint; compare counters over what is held and not compared yet.

        A checkpoint beyond hi is compared when it has been reached and is heard of again.
        """
        self.committed = point
        first, next_ = self._verified.next, point.next
        if next_ > self.hi or next_ <= first:
            return None
        before, after = self._verified.counters, point.counters
        if after.shed != before.shed or after.lost != before.lost:
            return Excluded(first, next_, after.shed - before.shed, after.lost - before.lost)
        rejected = bisect_left(self._rejects, next_)
        written = self._rows_between(first, next_)
        tail = Counters(
            before.written + written,
            before.duplicate + (next_ - first) - written - rejected,
            before.dlq + rejected,
            before.shed,
            before.lost,
        )
        if tail != after:
            return Differs(first, next_, tail, after)
        self._verified = point
        del self._rejects[:rejected]
        return None

    def _rows_between(self, first: int, next_: int) -> int:
        return sum(block.position(next_) - block.position(first) for block in self.blocks)

    def evict_below(self, offset: int) -> tuple[Block, ...]:
        """Let go of the blocks that lie below `offset` and whose counters were compared; they are returned."""
        offset = min(offset, self._verified.next)
        count = 0
        while count < len(self.blocks) and self.blocks[count].hi <= offset:
            count += 1
        gone, self.blocks = self.blocks[:count], self.blocks[count:]
        if gone:
            self.lo = gone[-1].hi
        self.appends.forget_below(min(offset, self.committed.next))
        return gone

    def cut(self, offset: int) -> None:
        """Forget what stands at `offset` and above."""
        kept = []
        for block in self.blocks:
            if block.hi <= offset:
                kept.append(block)
            elif block.lo < offset:
                kept.append(block.until(offset))
        self.blocks = tuple(kept)
        self.hi = max(self.lo, min(self.hi, offset))

    def replace(self, old: Block, new: Block) -> None:
        """Put `new`, the same rows kept elsewhere, where `old` is."""
        self.blocks = tuple(new if block is old else block for block in self.blocks)


class AppendTimes:
    """Append times by offset: how old is the record at an offset?

    To ten milliseconds or half a percent of the age, whichever is more: a log that nobody commits
    grows for days. One thread changes it, any may ask.
    """

    _STEP_US = 10_000
    _PARTS_OF_AGE = 256
    _MOST = 8_192

    def __init__(self) -> None:
        # Offsets, times. Who asks without a lock must find a time to each offset: lists only grow, the
        # times first, and what shortens them puts others in their place.
        self._known: tuple[list[int], list[int]] = ([], [])

    def __len__(self) -> int:
        return len(self._known[0])

    def add(self, offset: int, append_us: int) -> None:
        """The record at `offset` was appended then. Offsets ascend; a time before the last counts as that."""
        _, times_us = self._known
        if times_us and append_us < times_us[-1] + self._STEP_US:
            return
        if len(times_us) >= self._MOST:
            self._thin(append_us)
        offsets, times_us = self._known
        times_us.append(append_us)
        offsets.append(offset)

    def _thin(self, now_us: int) -> None:
        offsets, times_us = self._known
        kept = [0]
        for place, time_us in enumerate(times_us):
            if time_us - times_us[kept[-1]] >= (now_us - time_us) // self._PARTS_OF_AGE:
                kept.append(place)
        self._known = ([offsets[place] for place in kept], [times_us[place] for place in kept])

    def at(self, offset: int) -> int | None:
        """Append time of the record at `offset`, or a little earlier; None: it is before the first known."""
        offsets, times_us = self._known
        place = bisect_right(offsets, offset)
        return times_us[place - 1] if place else None

    def forget_below(self, offset: int) -> None:
        """Keep what `at` needs for `offset` and above."""
        offsets, times_us = self._known
        place = bisect_right(offsets, offset)
        if place > 1:
            self._known = (offsets[place - 1 :], times_us[place - 1 :])
