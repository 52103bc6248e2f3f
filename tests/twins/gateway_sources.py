"""The gateway's three sources in memory: history of a MemoryTable, a tail over a MemoryLog, the log itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import LakeError
from seamark.lake.states import restore
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.merge import below as below_vector
from seamark.query_gateway.merge import inside, stacked
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.query_gateway.seam import start_of
from seamark.query_gateway.sources import (
    Coverage,
    HistoryEstimate,
    HistoryPlan,
    Range,
    SnapshotGone,
    TailRows,
    Window,
)
from seamark.sequencing.state import PartitionState
from seamark.stream.decode import Decoder
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Bounds, TopicPartition
from seamark.stream.observe import Observer, Place
from seamark.stream.rows import with_stream
from twins.frame_plan import FramePlan
from twins.lake import MemoryStates, MemoryTable
from twins.log import MemoryLog
from twins.nearest import enough


@dataclass(frozen=True, slots=True, eq=False)
class MemoryPlan(FramePlan):
    pin: Pin
    predicate: Predicate
    columns: tuple[str, ...]
    frame: pl.DataFrame

    @property
    def estimate(self) -> HistoryEstimate:
        return HistoryEstimate(len(self.frame), int(self.frame.estimated_size()), int(len(self.frame) > 0))


@dataclass(slots=True)
class MemoryHistory:
    """A `History`. A snapshot that has expired is gone at once."""

    tables: Mapping[RecordKind, MemoryTable]
    meanwhile: Callable[[], None] = lambda: None
    """What happens between plan and read, and between two windows."""
    _read: dict[tuple[str, int | None], pl.DataFrame] = field(default_factory=dict)
    """The snapshot read last: a snapshot does not change."""
    _files: dict[int, tuple[pa.Table, pl.DataFrame]] = field(default_factory=dict)
    """By identity, which is theirs as long as they are here: nor does a file."""

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> HistoryPlan:
        table = self.tables[RecordKind(pin.table)]
        if pin.snapshot_id not in table.snapshots:
            raise SnapshotGone(f"snapshot {pin.snapshot_id}")
        frame = self._read.get((pin.table, pin.snapshot_id))
        if frame is None:
            empty = pl.DataFrame(row_schema(RecordKind(pin.table)).empty_table())
            frame = pl.concat([empty, *map(self._plain, table.snapshots[pin.snapshot_id].files)])
            self._read = {(pin.table, pin.snapshot_id): frame}
        return MemoryPlan(pin, predicate, tuple(columns), frame)

    def _plain(self, file: pa.Table) -> pl.DataFrame:
        if id(file) not in self._files:
            frame = pl.DataFrame(file)
            frame = frame.with_columns(pl.col(pl.Categorical).cast(pl.String)).select(frame.columns)
            self._files[id(file)] = (file, frame)
        return self._files[id(file)][1]

    def read(
        self, plan: HistoryPlan, window: Window, below: Vector | None, cancelled: threading.Event
    ) -> Iterator[pl.DataFrame]:
        assert isinstance(plan, MemoryPlan)
        self.meanwhile()
        if plan.pin.snapshot_id not in self.tables[RecordKind(plan.pin.table)].snapshots:
            raise SnapshotGone(f"snapshot {plan.pin.snapshot_id}")
        conditions = [
            plan.predicate.expression(),
            inside(window),
            below_vector(below) if below is not None else None,
        ]
        yield (
            plan.frame.lazy()
            .filter(*(one for one in conditions if one is not None))
            .select(plan.columns)
            .collect()
        )


@dataclass(slots=True)
class _Held:
    place: Place
    lo: int
    rows: pl.DataFrame
    end: int
    """The log's end as of the last fetch or question."""
    end_as_of_us: int
    """When it was asked for last."""


@dataclass(slots=True)
class MemoryTail:
    """A `TailSource`: one replica, told when to read, evict, restart, and to be down."""

    kind: RecordKind
    topic: str
    log: MemoryLog
    table: MemoryTable
    states: MemoryStates
    down: bool = False
    before_read: Callable[[], None] = lambda: None
    """What happens between the pin and the tail's answer."""
    meanwhile: Callable[[], None] = lambda: None
    """What happens between the tail's answer and whatever follows it."""
    held: dict[StreamPartition, _Held] = field(default_factory=dict)
    now_us: Callable[[], int] = lambda: 0
    answered: Mapping[StreamPartition, Coverage] = field(default_factory=dict)
    """Of the last read."""
    observer: Observer | None = None

    def restart(self) -> None:
        """A new life: from state(H) at H of the table's head."""
        self.held.clear()
        self.observer = Observer(self.kind, Decoder(self.kind))
        view = self.table.load()
        stream = view.stream_of(self.topic)
        if stream is None:
            return
        partitions = [StreamPartition(stream.stream_id, partition) for partition in range(stream.partitions)]
        states = restore(self.table, view, self.states, self.kind, partitions, lambda where, reason: None)
        for where in partitions:
            self._begin(where, view.checkpoints[where].next, states[where])

    def _begin(self, where: StreamPartition, position: int, state: PartitionState) -> None:
        assert self.observer is not None
        topic = TopicPartition(self.topic, where.partition)
        place = Place(where, topic, position, state, -1)
        self.observer.begin(place)
        rows = pl.DataFrame(row_schema(self.kind).empty_table())
        self.held[where] = _Held(place, position, rows, self.log.bounds(topic).end, self.now_us())

    def hear(self) -> None:
        """Ask where the logs end."""
        for held in self.held.values():
            end = self.log.bounds(held.place.topic).end
            if end >= held.place.position:
                held.end, held.end_as_of_us = end, self.now_us()

    def catch_up(self, most: int, partitions: Sequence[int] = ()) -> None:
        """Observe up to `most` records of each partition (or of those named)."""
        if self.observer is None:
            return
        for where, held in self.held.items():
            if partitions and where.partition not in partitions:
                continue
            try:
                observed, _ = self.observer.observe(
                    [self.log.read(held.place.topic, held.place.position, most)]
                )
            except Stopped:
                continue
            held.end = self.log.bounds(held.place.topic).end
            new = [with_stream(one.rows, where, self.topic) for one in observed if len(one.rows)]
            if new:
                held.rows = stacked([held.rows, *(rows.select(held.rows.columns) for rows in new)])

    def evict(self, partitions: Sequence[int] = ()) -> None:
        """What the head has goes, of all partitions (or of those named): the retention is over."""
        points = self.table.load().checkpoints
        for where, held in self.held.items():
            if partitions and where.partition not in partitions:
                continue
            point = points.get(where)
            if point is not None and held.lo < point.next <= held.place.position:
                held.lo = point.next
                held.rows = held.rows.filter(pl.col("kafka_offset") >= held.lo)

    def _covered(self, one: Range) -> Coverage | None:
        held = self.held.get(one.where)
        if held is None:
            return None
        hi = held.place.position
        to = hi if one.next is None else min(one.next, hi)
        first = min(max(one.first, held.lo), max(to, one.first))
        records = self.log.topics[held.place.topic.topic].records[one.where.partition]
        oldest = max(one.first, held.lo)
        return Coverage(
            one.where,
            first,
            max(to, first),
            held.lo,
            hi,
            max(held.end, hi),
            held.place.state.append_us,
            held.end_as_of_us,
            committed_append_us=records[oldest].append_us if oldest < hi else 0,
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
        self.before_read()
        self.answered = {}
        if self.down:
            return TailRows(None, {}, {one.where: "TAIL_UNAVAILABLE" for one in ranges})
        coverage, frames, failed = {}, [], {}
        expression = predicate.expression()
        meant = pl.lit(value=True) if expression is None else expression
        for one in ranges:
            part = self._covered(one)
            if part is None:
                failed[one.where] = "TAIL_UNASSIGNED"
                continue
            coverage[one.where] = part
            offset = pl.col("kafka_offset")
            rows = self.held[one.where].rows.lazy()
            frames.append(rows.filter(offset >= part.first, offset < part.next, meant).select(columns))
        self.answered = coverage
        frame = enough(pl.concat(frames).collect(), nearest) if frames else None
        given = TailRows(frame, coverage, failed)
        self.meanwhile()
        return given

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        if self.down:
            return {}
        found = {one.where: self._covered(Range(one.where, one.topic, 0)) for one in partitions}
        return {where: part for where, part in found.items() if part is not None}


@dataclass(slots=True)
class MemoryLogSource:
    """A `LogSource` over a MemoryLog."""

    log: MemoryLog
    table: MemoryTable
    states: MemoryStates
    down: bool = False

    def bounds(self, pin: Pin, where: StreamPartition) -> Bounds:
        self._check(pin, where)
        return self.log.bounds(TopicPartition(pin.topic_of(where), where.partition))

    def offset_after(self, pin: Pin, where: StreamPartition, instant_us: int) -> int:
        self._check(pin, where)
        place = self.log.topics[pin.topic_of(where)]
        records = place.records[where.partition]
        begin = place.start[where.partition]
        later = (at for at in range(begin, len(records)) if records[at].append_us > instant_us)
        return next(later, len(records))

    def read(self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event) -> pl.DataFrame:
        self._check(pin, where)
        kind = RecordKind(pin.table)
        topic = TopicPartition(pin.topic_of(where), where.partition)
        first = start_of(pin, where)
        point = pin.view.checkpoints.get(where)
        if point is None or point.next != first:
            raise LogUnavailable(pin.doubt or "no checkpoint")
        try:
            state = restore(self.table, pin.view, self.states, kind, [where], lambda w, reason: None)[where]
        except LakeError as error:
            raise LogUnavailable(str(error)) from error
        observer = Observer(kind, Decoder(kind))
        observer.begin(Place(where, topic, first, state, -1))
        try:
            observed, _ = observer.observe([self.log.read(topic, first, end - first)])
        except Stopped as error:
            raise LogUnavailable(str(error)) from error
        frames = [with_stream(one.rows, where, topic.topic) for one in observed if len(one.rows)]
        if not frames:
            return pl.DataFrame(row_schema(kind).empty_table())
        return pl.concat(frames).select(row_schema(kind).names)

    def _check(self, pin: Pin, where: StreamPartition) -> None:
        if self.down:
            raise LogUnavailable("the log is down")
        if self.log.topic_id(pin.topic_of(where)) != pin.streams[where.stream_id].topic_id:
            raise LogUnavailable("the topic was re-created")
