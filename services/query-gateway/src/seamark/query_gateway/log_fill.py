"""Fills what the tail did not give straight from Kafka, under a budget; names what it cannot.

Must not know why the tail did not give it, nor what E is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.query_gateway.header import Missing
from seamark.query_gateway.level import Level
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.seam import Hole, missing_of, start_of
from seamark.query_gateway.sources import Coverage, LogSource
from seamark.query_gateway.threads import Threads
from seamark.stream.errors import LogUnavailable

_THREADS, _WAITING = 4, 64
"""That ask Kafka at the same time, one of them reading; and answers that wait for one."""


@dataclass(frozen=True, slots=True)
class LogBudget:
    """How much may be read straight from Kafka when the tail cannot serve."""

    rows: int = 200_000
    """Offsets of one table for one answer, all its partitions together."""


@dataclass(slots=True)
class Filled:
    """What became of holes: each is in `marks` or in `missing`."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    marks: list[Coverage] = field(default_factory=list)
    """Offsets [first, next) that are in `frames`, and the log's end when it was asked."""
    missing: list[Missing] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Flight:
    """A read of the log from H on, and how many wait for it."""

    end: int
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: bool = False
    waiters: int = 0
    task: asyncio.Task[pl.DataFrame] | None = None


class LogFill:
    """Reads the log for all who find holes."""

    def __init__(
        self,
        log: LogSource,
        budget: LogBudget,
        level: Callable[[], Level] = lambda: Level.NORMAL,
    ) -> None:
        """`level`: how degraded the whole is; from AGGRESSIVE on the log is not read. Nobody raises
        it yet."""
        self._log = log
        self._budget = budget
        self.threads = Threads("Kafka", _THREADS, _WAITING)
        """For all that asks Kafka."""
        self._level = level
        self._turn = asyncio.Lock()
        self._flights: dict[tuple[str, StreamPartition, int], _Flight] = {}

    async def fill(
        self,
        pin: Pin,
        found: Sequence[Hole],
        predicate: Predicate,
        columns: Sequence[str],
        deadline_seconds: float,
    ) -> Filled:
        """Matching rows of the holes, or why not. What is not there by the deadline (monotonic) is missing.

        Raises:
            TooCostly: too many ask Kafka already.
        """

        async def rows(hole: Hole, end: int) -> pl.DataFrame:
            return await self._read(pin, hole.where, end)

        filled = await self._fill(pin, found, rows, deadline_seconds)
        if not filled.frames:
            return filled
        expression = predicate.expression()
        frames = [frame if expression is None else frame.filter(expression) for frame in filled.frames]
        filled.frames = [frame.select(columns) for frame in frames if len(frame)]
        return filled

    async def ends(self, pin: Pin, found: Sequence[Hole], deadline_seconds: float) -> Filled:
        """As `fill` for whom no rows are of use: the log is asked where it ends, and is not read."""

        async def rows(hole: Hole, end: int) -> pl.DataFrame:
            return pl.DataFrame()

        return await self._fill(pin, found, rows, deadline_seconds)

    async def _fill(
        self,
        pin: Pin,
        found: Sequence[Hole],
        rows: Callable[[Hole, int], Awaitable[pl.DataFrame]],
        deadline_seconds: float,
    ) -> Filled:
        filled = Filled()
        left = self._budget.rows
        for at, hole in enumerate(found):
            try:
                async with asyncio.timeout(deadline_seconds - time.monotonic()):
                    outcome = await self._one(pin, hole, rows, left)
            except (LogUnavailable, TimeoutError):
                # Who does not answer for one partition is not asked for the next: each would take seconds.
                filled.missing += [
                    missing_of(one, "LOG_UNAVAILABLE" if one.reason == "BELOW_TAIL" else one.reason)
                    for one in found[at:]
                ]
                break
            if isinstance(outcome, Missing):
                filled.missing.append(outcome)
                continue
            frame, mark = outcome
            if mark.next > mark.first:
                left -= mark.next - start_of(pin, hole.where)
            filled.frames += [frame] if len(frame) else []
            filled.marks.append(mark)
        return filled

    async def _one(
        self,
        pin: Pin,
        hole: Hole,
        rows: Callable[[Hole, int], Awaitable[pl.DataFrame]],
        left: int,
    ) -> tuple[pl.DataFrame, Coverage] | Missing:
        where, first = hole.where, start_of(pin, hole.where)
        asked_us = time.time_ns() // 1000
        bounds = await self.threads.run(lambda: self._log.bounds(pin, where))
        end = max(bounds.end, hole.first) if hole.next is None else hole.next
        append_us = pin.append_us.get(where, 0)
        mark = Coverage(where, hole.first, end, bounds.start, end, bounds.end, append_us, asked_us)
        if end == hole.first:
            return pl.DataFrame(), mark
        named = replace(hole, next=end)
        if bounds.start > first:
            return missing_of(named, "LOG_GONE")
        if bounds.end < end:
            return missing_of(named, "NOT_REACHED")
        if self._level() >= Level.AGGRESSIVE:
            return missing_of(named, "DEGRADED")
        if end - first > left:
            return missing_of(named, "OVER_BUDGET")
        try:
            frame = await rows(hole, end)
        except LogUnavailable:
            return missing_of(named, "LOG_UNAVAILABLE")
        oldest_us = frame["kafka_timestamp"].to_physical().min() if len(frame) else None
        if isinstance(oldest_us, int):
            mark = replace(mark, committed_append_us=oldest_us)
        return frame.filter(pl.col("kafka_offset") >= hole.first) if len(frame) else frame, mark

    async def _read(self, pin: Pin, where: StreamPartition, end: int) -> pl.DataFrame:
        """Rows of [H, end). One read of the log at a time, and one for all who want no more than it gives; it is
        stopped when the last of them has left."""
        key = (pin.table, where, start_of(pin, where))
        flight = self._flights.get(key)
        if flight is not None and not flight.begun:
            flight.end = max(flight.end, end)
        if flight is None or flight.end < end:
            flight = self._flights[key] = _Flight(end)
            flight.task = asyncio.create_task(self._fly(pin, where, flight))
            flight.task.add_done_callback(partial(self._landed, key, flight))
        assert flight.task is not None
        flight.waiters += 1
        try:
            rows = await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                flight.cancelled.set()
                self._forget(key, flight)
        return rows.filter(pl.col("kafka_offset") < end)

    async def _fly(self, pin: Pin, where: StreamPartition, flight: _Flight) -> pl.DataFrame:
        async with self._turn:
            if flight.cancelled.is_set():
                raise LogUnavailable(f"nobody waits for {where} any more")
            flight.begun = True
            return await self.threads.run(lambda: self._log.read(pin, where, flight.end, flight.cancelled))

    def _landed(
        self, key: tuple[str, StreamPartition, int], flight: _Flight, task: asyncio.Task[pl.DataFrame]
    ) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # where nobody waits any more, nobody is told

    def _forget(self, key: tuple[str, StreamPartition, int], flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
