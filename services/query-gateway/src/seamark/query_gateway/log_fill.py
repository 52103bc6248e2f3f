"""Fills what the tail did not give straight from Kafka, under a budget; names what it cannot.

Must not know why the tail did not give it, nor what E is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.query_gateway.header import Missing
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.seam import Hole, missing_of, start_of
from seamark.query_gateway.sources import Coverage, LogSource
from seamark.stream.errors import LogUnavailable


@dataclass(frozen=True, slots=True)
class LogBudget:
    """How much may be read straight from Kafka when the tail cannot serve."""

    rows: int = 200_000


@dataclass(slots=True)
class Filled:
    """What became of holes: each is in `marks` or in `missing`."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    marks: list[Coverage] = field(default_factory=list)
    """Offsets [first, next) that are in `frames`, and the log's end when it was asked."""
    missing: list[Missing] = field(default_factory=list)


class LogFill:
    """Reads the log for all who find holes."""

    def __init__(self, log: LogSource, budget: LogBudget) -> None:
        self._log = log
        self._budget = budget
        self._turn = asyncio.Lock()
        self._flights: dict[tuple[str, StreamPartition, int, int], asyncio.Task[pl.DataFrame]] = {}

    async def fill(
        self,
        pin: Pin,
        found: Sequence[Hole],
        predicate: Predicate,
        columns: Sequence[str],
        deadline_seconds: float,
    ) -> Filled:
        """Matching rows of the holes, or why not. What is not there by the deadline (monotonic) is missing."""
        filled = Filled()
        for at, hole in enumerate(found):
            try:
                async with asyncio.timeout(deadline_seconds - time.monotonic()):
                    outcome = await self._one(pin, hole, predicate, columns)
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
            filled.frames += [frame] if len(frame) else []
            filled.marks.append(mark)
        return filled

    async def _one(
        self, pin: Pin, hole: Hole, predicate: Predicate, columns: Sequence[str]
    ) -> tuple[pl.DataFrame, Coverage] | Missing:
        where, first = hole.where, start_of(pin, hole.where)
        asked_us = time.time_ns() // 1000
        bounds = await asyncio.to_thread(self._log.bounds, pin, where)
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
        if end - first > self._budget.rows:
            return missing_of(named, "OVER_BUDGET")
        try:
            rows = await self._read(pin, where, end)
        except LogUnavailable:
            return missing_of(named, "LOG_UNAVAILABLE")
        oldest_us = rows["kafka_timestamp"].to_physical().min()
        if isinstance(oldest_us, int):
            mark = replace(mark, committed_append_us=oldest_us)
        condition = pl.col("kafka_offset") >= hole.first
        if (expression := predicate.expression()) is not None:
            condition = condition & expression
        return rows.filter(condition).select(columns), mark

    async def _read(self, pin: Pin, where: StreamPartition, end: int) -> pl.DataFrame:
        """One read of the log at a time, and one for all who want the same: nobody's leaving stops it."""
        key = (pin.table, where, start_of(pin, where), end)
        flight = self._flights.get(key)
        if flight is None:

            async def read() -> pl.DataFrame:
                async with self._turn:
                    return await asyncio.to_thread(self._log.read, pin, where, end, threading.Event())

            flight = asyncio.create_task(read())
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)
