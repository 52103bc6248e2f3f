"""A lake, a tail and a log that a test moves by hand, and the gateway's core over them.

Every third record of a partition is no row, as a repeat would be. Rows are made from their place,
so that any source gives the same ones and nothing is kept twice.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.lake.errors import CatalogUnavailable
from seamark.lake.view import TableView
from seamark.market.nearest import Nearest
from seamark.market.order import total_order
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.header import Missing
from seamark.query_gateway.log_fill import LogBudget
from seamark.query_gateway.merge import below as below_vector
from seamark.query_gateway.merge import inside
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import Vector
from seamark.query_gateway.reading import OpenTable, TableOpener
from seamark.query_gateway.running import Call
from seamark.query_gateway.seam import start_of
from seamark.query_gateway.sources import (
    Coverage,
    HistoryEstimate,
    HistoryPlan,
    Range,
    TailRows,
    Window,
)
from seamark.query_gateway.want import Want
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Bounds
from twins.frame_plan import FramePlan
from twins.nearest import enough
from unit.query_gateway.lake import KIND, TOPIC, Lake
from unit.query_gateway.rows import rows_of

SYMBOLS = ("AAA", "BBB")
NOW_US = 10**15
COLUMNS = (*total_order(KIND), "kafka_timestamp", "price")
Place = tuple[int, int, int]


def record(where: StreamPartition, offset: int, append_us: int) -> dict[str, Any] | None:
    """The row of a record; None: it is none."""
    if offset % 3 == 2:
        return None
    return {
        "stream_id": where.stream_id,
        "kafka_partition": where.partition,
        "kafka_offset": offset,
        "kafka_timestamp": append_us,
        # Times go back and forth, and are shared.
        "timestamp": 1_000 + (offset * 7 + where.partition) % 11,
        "symbol": SYMBOLS[offset % 2],
        "source_sequence": offset,
        "price": offset,
    }


def places(frame: pl.DataFrame) -> list[Place]:
    return list(frame.select("stream_id", "kafka_partition", "kafka_offset").iter_rows())


@dataclass
class Catalog:
    """The table, with a switch."""

    lake: Lake
    down: bool = False
    loads: int = 0

    def load(self) -> TableView:
        self.loads += 1
        if self.down:
            raise CatalogUnavailable("the catalog is down")
        return self.lake.view


@dataclass
class Tail:
    """A `TailSource`: one replica. It holds [lo, hi) of each partition."""

    world: World
    lo: dict[int, int] = field(default_factory=dict)
    hi: dict[int, int] = field(default_factory=dict)
    down: set[int] = field(default_factory=set)
    down_because: str = "TAIL_UNAVAILABLE"
    waited_until: float = 0.0
    """Deadline of the last read."""
    """Partitions that it does not answer for."""
    comes: dict[int, int] = field(default_factory=dict)
    """How far it comes while somebody waits."""
    stopped: dict[int, str] = field(default_factory=dict)
    """Partitions that it reads no more, and why."""
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The log's end as it was last asked for, and when; where not said: as it is now."""
    meanwhile: Callable[[], None] = lambda: None
    """What happens between its answer and whatever follows."""
    asked: list[Sequence[Range]] = field(default_factory=list)

    def _coverage(self, one: Range) -> Coverage | None:
        partition = one.where.partition
        if partition in self.down or one.where.stream_id != self.world.stream:
            return None
        hi, lo = self.hi.get(partition, 0), self.lo.get(partition, 0)
        wanted = hi if one.next is None else one.next
        first = min(max(one.first, lo), max(wanted, one.first))
        times = self.world.times(partition)
        append_us = times[hi - 1] if hi else 0
        end, as_of_us = self.ends.get(partition, (len(times), NOW_US))
        oldest = max(one.first, lo)
        return Coverage(
            one.where,
            first,
            max(first, min(wanted, hi)),
            lo,
            hi,
            max(end, hi),
            append_us,
            as_of_us,
            self.stopped.get(partition, ""),
            times[oldest] if oldest < hi else 0,
        )

    async def read(
        self,
        kind: RecordKind,
        ranges: Sequence[Range],
        columns: Sequence[str],
        predicate: Predicate,
        deadline_seconds: float,
        nearest: Nearest | None = None,
    ) -> TailRows:
        self.asked.append(list(ranges))
        self.waited_until = deadline_seconds
        for one in ranges:
            partition = one.where.partition
            if one.next is not None and one.next > self.hi.get(partition, 0):
                self.hi[partition] = max(self.hi.get(partition, 0), self.comes.get(partition, 0))
        found = {one.where: self._coverage(one) for one in ranges}
        coverage = {where: part for where, part in found.items() if part is not None}
        frames = [self.world.rows(where, part.first, part.next) for where, part in coverage.items()]
        frame = None
        if frames:
            frame = enough(_matching(pl.concat(frames), predicate).select(columns), nearest)
        failed = {
            where: self.down_because if where.partition in self.down else "TAIL_UNASSIGNED"
            for where in found.keys() - coverage.keys()
        }
        self.meanwhile()
        return TailRows(frame, coverage, failed)

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        found = {one.where: self._coverage(one) for one in partitions}
        return {where: part for where, part in found.items() if part is not None}


@dataclass
class Log:
    """A `LogSource`."""

    world: World
    down: bool = False
    reads: list[tuple[StreamPartition, int, int]] = field(default_factory=list)
    hold: threading.Event | None = None
    """Set it to let reads go on."""
    cancelled: list[threading.Event] = field(default_factory=list)
    """What each read may look at."""

    def bounds(self, pin: Pin, where: StreamPartition) -> Bounds:
        self._check(where)
        topic = self.world.lake.log.topics[TOPIC]
        return Bounds(topic.start[where.partition], len(topic.records[where.partition]))

    def offset_after(self, pin: Pin, where: StreamPartition, instant_us: int) -> int:
        bounds = self.bounds(pin, where)
        times = self.world.times(where.partition)
        later = (offset for offset in range(bounds.start, bounds.end) if times[offset] > instant_us)
        return next(later, bounds.end)

    def read(self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event) -> pl.DataFrame:
        self._check(where)
        first = start_of(pin, where)
        self.cancelled.append(cancelled)
        self.reads.append((where, first, end))
        if self.hold is not None:
            assert self.hold.wait(20)
        assert self.bounds(pin, where).start <= first, "these records are gone"
        assert end <= self.bounds(pin, where).end
        return self.world.rows(where, first, end)

    def _check(self, where: StreamPartition) -> None:
        if self.down or where.stream_id != self.world.stream:
            raise LogUnavailable("no answer")


@dataclass(frozen=True)
class Plan(FramePlan):
    pin: Pin
    predicate: Predicate
    columns: tuple[str, ...]
    frame: pl.DataFrame
    cuts: tuple[int, ...]

    @property
    def estimate(self) -> HistoryEstimate:
        return HistoryEstimate(len(self.frame), 0, int(len(self.frame) > 0))

    def windows(self, target_rows: int) -> Sequence[Window]:
        edges = [None, *self.cuts, None]
        return [Window(first, last) for first, last in zip(edges, edges[1:], strict=False)]


@dataclass
class History:
    """A `History`: rows below the H of the snapshot, cut into windows at `cuts`."""

    world: World
    cuts: tuple[int, ...] = ()

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> HistoryPlan:
        frame = self.world.history(pin)
        return Plan(pin, predicate, tuple(columns), frame, self.cuts)

    def read(
        self, plan: HistoryPlan, window: Window, below: Vector | None, cancelled: threading.Event
    ) -> Iterator[pl.DataFrame]:
        assert isinstance(plan, Plan)
        frame = _matching(plan.frame, plan.predicate)
        for condition in (inside(window), None if below is None else below_vector(below)):
            frame = frame if condition is None else frame.filter(condition)
        yield frame.select(plan.columns)


def _matching(frame: pl.DataFrame, predicate: Predicate) -> pl.DataFrame:
    expression = predicate.expression()
    return frame if expression is None else frame.filter(expression)


class World:
    """All of it. `stream` is the open stream's id; append times of a stream's partition never fall."""

    def __init__(self, partitions: int = 2, start: int = 0, budget_rows: int = 1_000) -> None:
        self.lake = Lake(partitions, start)
        self.stream = 1
        self.catalog = Catalog(self.lake)
        self.tail, self.log, self.history_source = Tail(self), Log(self), History(self)
        self.tail.lo = dict.fromkeys(range(partitions), start)
        self.tail.hi = dict.fromkeys(range(partitions), start)
        self.loop = asyncio.Runner()
        self.pins = PinCache({KIND: self.catalog}, self.lake.states)  # type: ignore[dict-item]
        self.opener = TableOpener(self.pins, self.tail, self.log, LogBudget(budget_rows), lambda: NOW_US)
        self.pin()

    def times(self, partition: int) -> list[int]:
        return [one.append_us for one in self.lake.log.topics[TOPIC].records[partition]]

    def rows(self, where: StreamPartition, first: int, behind: int) -> pl.DataFrame:
        times = self.times(where.partition)
        found = [record(where, offset, times[offset]) for offset in range(first, behind)]
        return rows_of(KIND, [row for row in found if row is not None], categorical=True)

    def history(self, pin: Pin) -> pl.DataFrame:
        frames = [rows_of(KIND, [])]
        for where, offset in pin.watermark.items():
            gone = [range(one.first, one.next) for one in pin.excluded if one.where == where]
            frame = self.rows(where, self.first_of(where), offset)
            frame = frame.filter(
                ~pl.any_horizontal(
                    [
                        pl.lit(False),
                        *(pl.col("kafka_offset").is_between(one.start, one.stop, "left") for one in gone),
                    ]
                )
            )
            frames.append(frame.with_columns(pl.col(pl.Categorical).cast(pl.String)))
        return pl.concat(frames)

    def first_of(self, where: StreamPartition) -> int:
        return self.lake.view.streams[where.stream_id].start[where.partition]

    # What happens

    def append(self, partition: int, count: int, append_us: int = NOW_US) -> None:
        """To the log; the tail observes it at once."""
        self.append_unseen(partition, count, append_us)
        self.tail.hi[partition] = len(self.times(partition))

    def append_unseen(self, partition: int, count: int, append_us: int = NOW_US) -> None:
        self.lake.append(partition, *[append_us] * count)

    def commit(self, *nexts: int) -> int:
        times = [self.times(partition)[behind - 1] for partition, behind in enumerate(nexts) if behind]
        return self.lake.commit(*nexts, append_us=max(times, default=0))

    def pin(self) -> Pin:
        return self.run(self.pins.refresh(KIND))

    def evict(self, *los: int) -> None:
        self.tail.lo.update(enumerate(los))

    def retire(self, *starts: int) -> None:
        """The log's retention."""
        self.lake.log.topics[TOPIC].start[: len(starts)] = starts

    # What is asked

    def run(self, job: Any) -> Any:
        return self.loop.run(job)

    def call(self, seconds: float = 5.0) -> Call:
        return Call("q", "test", "c", time.monotonic() + seconds)

    def open(
        self, want: Want = Want(), predicate: Predicate = Predicate(), seconds: float = 5.0
    ) -> OpenTable:
        """Opened, and held against what its header says."""
        opened = self.run(self.opener.open(KIND, predicate, COLUMNS, want, self.call(seconds)))
        self.judge(opened, predicate)
        return opened

    def given(self, opened: OpenTable, predicate: Predicate = Predicate()) -> list[Place]:
        """Rows of both sides."""
        frame = _matching(self.history(opened.pin), predicate)
        if opened.below is not None:
            frame = frame.filter(below_vector(opened.below))
        return [place for part in (frame, *opened.tail) for place in places(part)]

    def judge(self, opened: OpenTable, predicate: Predicate = Predicate()) -> None:
        """All rows of the log below E, each once, but for the ranges that the header names."""
        expected = set()
        for where, end in opened.end.items():
            named: list[Missing | ExcludedRange] = [*opened.header.missing, *opened.header.excluded]
            gone = [
                range(one.first, end if one.next is None else one.next) for one in named if one.where == where
            ]
            known = len(self.times(where.partition))
            frame = _matching(self.rows(where, self.first_of(where), min(end, known)), predicate)
            expected |= {place for place in places(frame) if not any(place[2] in one for one in gone)}
        found = self.given(opened, predicate)
        assert len(found) == len(set(found)), "a row was given twice"
        assert set(found) == expected
        for frame in opened.tail:
            assert frame.columns == list(COLUMNS)


def crossing(budget_rows: int = 1_000) -> World:
    """Two partitions: 20 records each, ten of them committed and pinned, all of them in the tail."""
    made = World(budget_rows=budget_rows)
    for partition in (0, 1):
        made.append(partition, 10, NOW_US - 60_000_000)
        made.append(partition, 10)
    made.commit(10, 10)
    made.pin()
    return made
