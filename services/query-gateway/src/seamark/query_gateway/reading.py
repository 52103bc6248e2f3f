"""Opens one table for one question: pins S, fixes E, fetches what is behind H(S), names what is missing.

Knows the order of the steps and what to try next when one fails. Must not know what the rows
are for: questions, bars and joins all open tables here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Gone, Stale, Unavailable
from seamark.query_gateway.header import Missing, TableHeader
from seamark.query_gateway.merge import below
from seamark.query_gateway.pin import Pin, pin_snapshot
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import Vector
from seamark.query_gateway.running import Call
from seamark.query_gateway.seam import (
    Hole,
    asked_ranges,
    end_vector,
    excluded_below,
    freshness_ms,
    holes,
    missing_of,
    start_of,
    time_travels,
)
from seamark.query_gateway.sources import Coverage, LogSource, Range, TailSource
from seamark.stream.errors import LogUnavailable

WAIT_MARGIN_SECONDS = 0.25
"""Kept of the deadline for what follows the tail's answer."""


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
    revision: int | None = None
    """R of the cursor: what was shed since then cannot be given again."""
    max_staleness_ms: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OpenTable:
    """A table as one answer sees it."""

    kind: RecordKind
    pin: Pin
    end: Vector
    below: Vector | None
    """Set where history(S) goes beyond E."""
    tail: tuple[pl.DataFrame, ...]
    """Matching rows with H(S) ≤ offset < E, with the columns asked for."""
    header: TableHeader
    freshness_ms: int


@dataclass(frozen=True, slots=True)
class LogBudget:
    """How much may be read straight from Kafka when the tail cannot serve."""

    rows: int = 200_000


class TableOpener:
    """Opens tables."""

    def __init__(
        self,
        pins: PinCache,
        tails: TailSource,
        log: LogSource,
        budget: LogBudget,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._pins = pins
        self._tails = tails
        self._log = log
        self._budget = budget
        self._now_us = now_us
        self._log_turn = asyncio.Lock()
        self._flights: dict[tuple[StreamPartition, int, int], asyncio.Task[pl.DataFrame]] = {}

    async def open(
        self, kind: RecordKind, predicate: Predicate, columns: Sequence[str], want: Want, call: Call
    ) -> OpenTable:
        """Pin, fix E, fetch. `columns`: what the tail's rows must have. `predicate`: with the time of
        `as_known_at`, where that is wanted.

        Raises:
            Unavailable: the table was never loaded.
            Gone: the snapshot asked for, or rows below E, cannot be given any more.
            Stale: the answer would be older than asked for.
        """
        pin = await self._pin(kind, want)
        if want.snapshot_id is not None:
            return self._opened(kind, pin, dict(pin.watermark), (), {}, ())
        if want.known_at_us is not None:
            want = replace(want, end=await self._end_at(pin, want.known_at_us))
        asked = asked_ranges(pin, want.end, want.floor)
        if want.end is None and any(one.next is not None for one in asked):
            asked = await self._fixed(kind, asked, call)
        rows = await self._tails.read(
            kind, asked, columns, predicate, call.deadline_seconds - WAIT_MARGIN_SECONDS
        )
        found = holes(pin, asked, rows.coverage, rows.failed)
        if found:
            # What the tail has evicted, or does not hold any more, the lake has by now.
            pin = await self._repinned(kind, pin, want)
            found = holes(pin, asked, rows.coverage, rows.failed)
        end = end_vector(pin, want.end, rows.coverage)
        frames: list[pl.DataFrame] = []
        if rows.frame is not None and len(rows.frame):
            frames.append(_from_watermark(rows.frame, pin) if _overlaps(pin, asked) else rows.frame)
        missing: list[Missing] = []
        for hole in found:
            outcome = await self._fill(pin, hole, predicate, columns, call)
            if isinstance(outcome, Missing):
                missing.append(outcome)
                continue
            frame, reached = outcome
            if len(frame):
                frames.append(frame)
            if want.end is None:
                end[hole.where] = max(end[hole.where], reached)
        if want.strict and any(gone.reason == "NOT_REACHED" for gone in missing):
            raise Stale("min_offsets were not reached before the deadline", "consistency")
        opened = self._opened(kind, pin, end, tuple(frames), rows.coverage, tuple(missing))
        if want.max_staleness_ms is not None and opened.freshness_ms > want.max_staleness_ms:
            raise Stale(
                f"max_staleness was {want.max_staleness_ms} ms, the answer would be {opened.freshness_ms} ms old",
                "consistency",
            )
        return opened

    # S

    async def _pin(self, kind: RecordKind, want: Want) -> Pin:
        pin = self._pins.current(kind)
        if want.snapshot_id is not None:
            if want.snapshot_id not in pin.view.snapshots:
                pin = await self._pins.refresh(kind)
            return pin_snapshot(kind.value, pin.view, want.snapshot_id, self._pins.ranges)
        if want.end is not None:
            if not pin.watermark.keys() | set(pin.open_partitions) >= want.end.keys():
                pin = await self._pins.refresh(kind)
            self._check_excluded(pin, want.end, want.revision)
        return pin

    async def _repinned(self, kind: RecordKind, pin: Pin, want: Want) -> Pin:
        """The head, if it is newer: what the tail has evicted is in the lake."""
        try:
            head = await self._pins.refresh(kind)
        except Unavailable:
            return pin
        if want.end is not None:
            self._check_excluded(head, want.end, want.revision)
        return head

    @staticmethod
    def _check_excluded(pin: Pin, end: Vector, revision: int | None) -> None:
        if revision is None:
            return
        for gone in excluded_below(pin, end):
            if gone.revision > revision:
                raise Gone(
                    f"shed_since: offsets [{gone.first}, {gone.next}) of {gone.where} were taken out by revision "
                    f"{gone.revision}, the cursor is of revision {revision}",
                    "cursor",
                )

    # E

    async def _fixed(self, kind: RecordKind, asked: Sequence[Range], call: Call) -> list[Range]:
        """Ranges with E decided beforehand: where the replicas are now, or further where it was asked for."""
        deadline = min(call.deadline_seconds, time.monotonic() + 1.0)
        now = await self._tails.positions(kind, asked, deadline)
        fixed = []
        for one in asked:
            part = now.get(one.where)
            if one.next is None or (part is not None and part.hi >= one.next):
                fixed.append(replace(one, next=part.hi if part is not None and part.hi > one.first else None))
            else:
                fixed.append(one)
        return fixed

    async def _end_at(self, pin: Pin, instant_us: int) -> dict[StreamPartition, int]:
        """E_T: the first offset of each partition that was appended later than T."""
        end = dict(pin.watermark)  # what is closed is older; known_at_us filters what is not
        partitions = pin.open_partitions

        def ask() -> list[int]:
            return [self._log.offset_after(pin, where, instant_us) for where in partitions]

        try:
            offsets = await asyncio.to_thread(ask)
        except LogUnavailable as error:
            # All that is needed may be in history: then the rows' own append times decide.
            if all(pin.append_us.get(where, 0) > instant_us for where in partitions):
                return {where: start_of(pin, where) for where in (*end, *partitions)}
            raise Unavailable(f"as_known_at needs Kafka's index of append times: {error}") from error
        end.update(
            {
                where: max(offset, pin.streams[where.stream_id].start[where.partition])
                for where, offset in zip(partitions, offsets, strict=True)
            }
        )
        return end

    # What the tail did not give

    async def _fill(
        self, pin: Pin, hole: Hole, predicate: Predicate, columns: Sequence[str], call: Call
    ) -> tuple[pl.DataFrame, int] | Missing:
        """The rows of a hole straight from Kafka, and how far they reach; or what is missing and why."""
        try:
            bounds = await asyncio.to_thread(self._log.bounds, pin, hole.where)
        except LogUnavailable:
            return missing_of(hole, hole.reason if hole.reason != "BELOW_TAIL" else "LOG_UNAVAILABLE")
        end = bounds.end if hole.next is None else hole.next
        if end <= hole.first:
            return pl.DataFrame(), hole.first
        first = start_of(pin, hole.where)
        named = Hole(hole.where, hole.first, end, hole.reason)
        if bounds.start > first:
            return missing_of(named, "LOG_GONE")
        if bounds.end < end:
            return missing_of(named, "NOT_REACHED")
        if end - first > self._budget.rows:
            return missing_of(named, "OVER_BUDGET")
        try:
            rows = await self._from_log(pin, hole.where, end, call.cancelled)
        except LogUnavailable:
            return missing_of(named, "LOG_UNAVAILABLE")
        condition = pl.col("kafka_offset") >= hole.first
        if (expression := predicate.expression()) is not None:
            condition = condition & expression
        return rows.filter(condition).select(columns), end

    async def _from_log(
        self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event
    ) -> pl.DataFrame:
        """One read of the log at a time, and one for all who want the same."""
        key = (where, start_of(pin, where), end)
        flight = self._flights.get(key)
        if flight is None:

            async def read() -> pl.DataFrame:
                async with self._log_turn:
                    return await asyncio.to_thread(self._log.read, pin, where, end, threading.Event())

            flight = asyncio.create_task(read())
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    def _opened(
        self,
        kind: RecordKind,
        pin: Pin,
        end: Mapping[StreamPartition, int],
        tail: tuple[pl.DataFrame, ...],
        coverage: Mapping[StreamPartition, Coverage],
        missing: tuple[Missing, ...],
    ) -> OpenTable:
        now_us = self._now_us()
        pin_age_ms = self._pins.age_ms(kind)
        waiting = [
            pin.append_us.get(where, 0)
            for where in pin.open_partitions
            if end.get(where, 0) > start_of(pin, where)
        ]
        oldest = min((us for us in waiting if us), default=0)
        header = TableHeader(
            table=kind.value,
            snapshot_id=pin.snapshot_id,
            pin_age_ms=pin_age_ms,
            revision=pin.revision,
            watermark=dict(pin.watermark),
            end=dict(end),
            lo={where: part.lo for where, part in coverage.items()},
            excluded=excluded_below(pin, end),
            missing=missing,
            committed_age_ms=max(0, (now_us - oldest) // 1000) if oldest else 0,
        )
        return OpenTable(
            kind,
            pin,
            end,
            end if time_travels(pin, end) else None,
            tail,
            header,
            freshness_ms(pin, end, coverage, now_us, pin_age_ms),
        )


def _overlaps(pin: Pin, asked: Sequence[Range]) -> bool:
    """Whether the tail was asked for rows that the (newer) pin has."""
    return any(start_of(pin, one.where) > one.first for one in asked)


def _from_watermark(frame: pl.DataFrame, pin: Pin) -> pl.DataFrame:
    """Rows of the tail that history(S) does not have."""
    return frame.filter(~below({where: offset for where, offset in pin.watermark.items()}))
