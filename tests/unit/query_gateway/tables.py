"""All tables of the gateway with a lake, a tail and a log each, all of which have what a test appends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.cursor import CursorCodec
from seamark.query_gateway.gateway import Gateway
from seamark.query_gateway.header import AnswerHeader
from seamark.query_gateway.log_fill import LogBudget
from seamark.query_gateway.merge import below as below_vector
from seamark.query_gateway.merge import inside
from seamark.query_gateway.opening import Limits, Opening
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import Engine, Vector
from seamark.query_gateway.reading import TableOpener
from seamark.query_gateway.running import Call
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
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Bounds
from seamark.stream.topics import market_topic
from twins.frame_plan import FramePlan
from twins.nearest import enough
from unit.query_gateway.lake import Lake
from unit.query_gateway.rows import rows_of

NOW_US = 10**15
"""When everything begins."""


@dataclass(frozen=True)
class Plan(FramePlan):
    pin: Pin
    predicate: Predicate
    columns: tuple[str, ...]
    frame: pl.DataFrame

    @property
    def estimate(self) -> HistoryEstimate:
        rows = len(_matching(self.frame, self.predicate))
        return HistoryEstimate(rows, 0, int(len(self.frame) > 0))


class Tables:
    """The answering core over tables in memory."""

    def __init__(self, partitions: int = 2, limits: Limits | None = None) -> None:
        self.lakes = {
            kind: Lake(partitions, 0, kind, market_topic("crypto", kind, "binance")) for kind in RecordKind
        }
        self.appended: dict[RecordKind, list[dict[str, Any]]] = {kind: [] for kind in RecordKind}
        self.now_us = NOW_US
        self.tail_down: set[RecordKind] = set()
        self.tail_lo: dict[RecordKind, int] = {}
        """First offset that the tail has, of every partition; where not said, 0."""
        self.log_down = False
        self.meanwhile: Callable[[RecordKind], None] = lambda kind: None
        """What happens when the tail has answered for a table."""
        self.runner = asyncio.Runner()
        states = self.lakes[RecordKind.TRADES].states
        self.pins = PinCache({kind: lake.table for kind, lake in self.lakes.items()}, states)
        self.log = Log(self)
        self.opener = TableOpener(self.pins, Tails(self), self.log, LogBudget(), lambda: self.now_us)
        codec = CursorCodec(b"a secret of sixteen")
        self.history = Lakes(self)
        self.opening = Opening(
            self.pins,
            self.opener,
            {Engine.DIRECT: self.history},
            codec,
            limits or Limits(),
            lambda: self.now_us,
        )
        self.gateway = Gateway(self.opening, self.opener)
        self.pin()

    # What happens

    def place(self, kind: RecordKind, key: str) -> StreamPartition:
        stream = self.lakes[kind].view.stream_of(self.lakes[kind].topic)
        assert stream is not None
        return StreamPartition(stream.stream_id, Routing.from_json(stream.routing).partition_of(key))

    def append(self, kind: RecordKind, key: str, /, **values: Any) -> tuple[StreamPartition, int]:
        """A record that is a row, now; where it is."""
        where, lake = self.place(kind, key), self.lakes[kind]
        offset = len(lake.log.topics[lake.topic].records[where.partition])
        lake.append(where.partition, self.now_us)
        position = {"stream_id": where.stream_id, "kafka_partition": where.partition, "kafka_offset": offset}
        self.appended[kind].append({**values, **position, "kafka_timestamp": self.now_us})
        return where, offset

    def commit(self, kind: RecordKind) -> None:
        """All there is."""
        lake = self.lakes[kind]
        lake.commit(*(len(records) for records in lake.log.topics[lake.topic].records), append_us=self.now_us)

    def retire(self, kind: RecordKind) -> None:
        """The log's retention takes all that there is."""
        topic = self.lakes[kind].log.topics[self.lakes[kind].topic]
        topic.start[:] = map(len, topic.records)

    def pin(self) -> None:
        for kind in RecordKind:
            self.run(self.pins.refresh(kind))

    def rows(self, kind: RecordKind, where: StreamPartition, first: int, behind: int) -> pl.DataFrame:
        found = [
            row
            for row in self.appended[kind]
            if (row["stream_id"], row["kafka_partition"]) == where and first <= row["kafka_offset"] < behind
        ]
        return rows_of(kind, found, categorical=True)

    # What is asked

    def run(self, job: Any) -> Any:
        return self.runner.run(job)

    def ask(self, question: Callable[[Call], Awaitable[Answer]]) -> tuple[AnswerHeader, pa.Table]:
        """The whole answer."""

        async def whole() -> tuple[AnswerHeader, pa.Table]:
            answer = await question(Call("q", "test", "c", time.monotonic() + 20.0))
            batches = [batch async for batch in answer.batches]
            return answer.header, pa.Table.from_batches(batches, answer.schema)

        found: tuple[AnswerHeader, pa.Table] = self.run(whole())
        return found


class Tails:
    """A `TailSource` that has all there is, unless it is down."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _coverage(self, kind: RecordKind, one: Range) -> Coverage:
        records = self._tables.lakes[kind].log.topics[one.topic].records[one.where.partition]
        end = len(records)
        behind = end if one.next is None else min(one.next, end)
        lo = self._tables.tail_lo.get(kind, 0)
        first = min(max(one.first, lo), max(behind, one.first))
        append_us = records[-1].append_us if records else 0
        return Coverage(one.where, first, max(first, behind), lo, end, end, append_us, self._tables.now_us)

    async def read(
        self,
        kind: RecordKind,
        ranges: Sequence[Range],
        columns: Sequence[str],
        predicate: Predicate,
        deadline_seconds: float,
        nearest: Nearest | None = None,
    ) -> TailRows:
        if kind in self._tables.tail_down:
            return TailRows(None, {}, {one.where: "TAIL_UNAVAILABLE" for one in ranges})
        coverage = {one.where: self._coverage(kind, one) for one in ranges}
        frames = [self._tables.rows(kind, part.where, part.first, part.next) for part in coverage.values()]
        self._tables.meanwhile(kind)
        frame = None
        if frames:
            frame = enough(_matching(pl.concat(frames), predicate).select(columns), nearest)
        return TailRows(frame, coverage)

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        if kind in self._tables.tail_down:
            return {}
        return {one.where: self._coverage(kind, one) for one in partitions}


class Log:
    """A `LogSource`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.asked: list[str] = []
        """Tables of which a partition with records was asked for."""
        self.hold: threading.Event | None = None
        """Reads wait for it."""

    def _times(self, pin: Pin, where: StreamPartition) -> list[int]:
        if self._tables.log_down:
            raise LogUnavailable("no answer")
        topic = self._tables.lakes[RecordKind(pin.table)].log.topics[pin.topic_of(where)]
        return [record.append_us for record in topic.records[where.partition]]

    def bounds(self, pin: Pin, where: StreamPartition) -> Bounds:
        topic = self._tables.lakes[RecordKind(pin.table)].log.topics[pin.topic_of(where)]
        self.asked += [pin.table] if self._times(pin, where) else []
        return Bounds(topic.start[where.partition], len(self._times(pin, where)))

    def offset_after(self, pin: Pin, where: StreamPartition, instant_us: int) -> int:
        times, bounds = self._times(pin, where), self.bounds(pin, where)
        return next((at for at in range(bounds.start, bounds.end) if times[at] > instant_us), bounds.end)

    def read(self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event) -> pl.DataFrame:
        if self.hold is not None:
            assert self.hold.wait(20)
        return self._tables.rows(RecordKind(pin.table), where, start_of(pin, where), end)


class Lakes:
    """A `History`. A snapshot that has expired is gone at once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.windows: list[Window] = []
        """That were read."""
        self.warmed: list[str] = []
        """Tables of the pins that were."""

    def warm(self, pin: Pin) -> None:
        self.warmed.append(pin.table)

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> HistoryPlan:
        kind = RecordKind(pin.table)
        frames = [self._tables.rows(kind, where, 0, behind) for where, behind in pin.watermark.items()]
        frame = pl.concat([rows_of(kind, [], categorical=True), *frames])
        return Plan(
            pin, predicate, tuple(columns), frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
        )

    def read(
        self, plan: HistoryPlan, window: Window, below: Vector | None, cancelled: threading.Event
    ) -> Iterator[pl.DataFrame]:
        assert isinstance(plan, Plan)
        self.windows.append(window)
        if plan.pin.snapshot_id not in self._tables.lakes[RecordKind(plan.pin.table)].table.snapshots:
            raise SnapshotGone(f"snapshot {plan.pin.snapshot_id} has expired")
        frame = _matching(plan.frame, plan.predicate)
        for condition in (inside(window), None if below is None else below_vector(below)):
            frame = frame if condition is None else frame.filter(condition)
        yield frame.select(plan.columns)


def _matching(frame: pl.DataFrame, predicate: Predicate) -> pl.DataFrame:
    expression = predicate.expression()
    return frame if expression is None else frame.filter(expression)
