"""Opens one table for one question: pins S, fixes E, fetches what is behind H(S), names what is missing.

Knows the order of the steps and what to try next when one fails. Must not know what the rows
are for: questions, bars and joins all open tables here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CatalogUnavailable
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Stale, TooCostly, Unavailable
from seamark.query_gateway.header import Missing, TableHeader
from seamark.query_gateway.level import Level
from seamark.query_gateway.log_fill import LogBudget, LogFill
from seamark.query_gateway.merge import below
from seamark.query_gateway.pin import Pin, pin_snapshot
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import Vector
from seamark.query_gateway.running import Call
from seamark.query_gateway.seam import (
    Hole,
    asked_ranges,
    check_end,
    check_floor,
    committed_age_ms,
    end_at,
    end_vector,
    excluded_to_name,
    freshness_ms,
    holes,
    reach,
    start_of,
    time_travels,
)
from seamark.query_gateway.seen import SeenEnds
from seamark.query_gateway.sources import Coverage, LogSource, Range, TailSource
from seamark.query_gateway.tail_pieces import BUSY
from seamark.query_gateway.want import Want
from seamark.stream.errors import LogUnavailable

WAIT_MARGIN_SECONDS = 0.25
"""Kept of the deadline for what follows the tail's answer."""
BUSY_SECONDS = 1.0
"""After which to ask again where the tail had too many reads."""
LOG_SHARE = 0.2
"""Of the time that is left, kept for Kafka where the tail does not give all."""
LEAST_LOG_SECONDS, MOST_LOG_SECONDS = 0.5, 30.0
"""Bounds of that share; where there is less than twice the least, it is half of what there is."""
SAY_MARGIN_SECONDS = 0.1
"""Kept of it to say what is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenTable:
    """A table as one answer sees it."""

    kind: RecordKind
    pin: Pin
    end: Vector
    below: Vector | None
    """Set where history(S) goes beyond E."""
    tail: tuple[pl.DataFrame, ...]
    """Matching rows with H(S) ≤ offset < E, with the columns asked for; those at least that `nearest` wants."""
    header: TableHeader
    freshness_ms: int
    known_at_us: int | None = None
    """Rows that were appended later are left out."""


class TableOpener:
    """Opens tables."""

    def __init__(
        self,
        pins: PinCache,
        tails: TailSource,
        log: LogSource,
        budget: LogBudget,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        level: Callable[[], Level] = lambda: Level.NORMAL,
    ) -> None:
        """`level`: how degraded the whole is, for `LogFill`."""
        self._pins = pins
        self._tails = tails
        self._log = log
        self._fill = LogFill(log, budget, level)
        self._now_us = now_us
        self.seen = SeenEnds()
        """How far the log was, by the answers so far."""

    async def open(
        self,
        kind: RecordKind,
        predicate: Predicate,
        columns: Sequence[str],
        want: Want,
        call: Call,
        nearest: Nearest | None = None,
    ) -> OpenTable:
        """Pin, fix E, fetch. `columns`: what the tail's rows must have. `predicate`: with the time of
        `as_known_at`, where that is wanted. `nearest`: rows that are enough.

        Raises:
            Unavailable: the table was never loaded.
            Gone: the snapshot asked for, or rows below E, cannot be given any more.
            Stale: the answer would be older than asked for.
            TooCostly: replicas of the tail have too many reads, and no peer gives what they hold.
        """
        pin = await self._pin(kind, want)
        if want.snapshot_id is not None:
            return self._opened(pin, want, dict(pin.watermark), (), {}, (), ())
        missing: list[Missing] = []
        if want.known_at_us is not None and want.end is None:
            end_then, unknown = await self._end_at(pin, want.known_at_us, call)
            want = replace(want, end=end_then)
            missing += unknown
        asked = asked_ranges(pin, want.end, want.floor)
        marks: list[Coverage] = []
        if want.end is None and any(one.next is not None for one in asked):
            asked, marks = await self._fixed(kind, asked, call)
        rows = await self._tails.read(kind, asked, columns, predicate, _tail_deadline(call), nearest)
        if BUSY in rows.failed.values() and not want.offsets_only:
            raise TooCostly("replicas of the tail read for too many already: ask again", BUSY_SECONDS)
        marks += rows.coverage.values()
        pinned, found = pin, holes(pin, asked, rows.coverage, rows.failed)
        if found:
            pin = await self._repinned(pin, want, found, call)
            found = holes(pin, asked, rows.coverage, rows.failed)
        end = end_vector(pin, want.end, rows.coverage)
        frames: list[pl.DataFrame] = []
        if rows.frame is not None and len(rows.frame):
            kept = rows.frame
            if pin is not pinned:
                kept = kept.filter(below(end) & ~below(pin.watermark))
            frames.append(kept)
        say_by = call.deadline_seconds - SAY_MARGIN_SECONDS
        if want.offsets_only:
            filled = await self._fill.ends(pin, found, say_by)
        else:
            filled = await self._fill.fill(pin, found, predicate, columns, say_by)
        if want.end is None:
            for mark in filled.marks:
                end[mark.where] = max(end[mark.where], mark.next)
        frames += filled.frames
        marks += filled.marks
        missing += filled.missing
        if want.strict:
            check_floor(want.floor, end, missing)
        opened = self._opened(pin, want, end, tuple(frames), rows.coverage, marks, tuple(missing))
        if want.max_staleness_ms is not None and opened.freshness_ms > want.max_staleness_ms:
            raise Stale(
                f"max_staleness_ms was {want.max_staleness_ms}, the answer would be {opened.freshness_ms} ms old",
                "max_staleness_ms",
            )
        return opened

    def unread(self, kind: RecordKind, reason: str) -> OpenTable:
        """The table as it is known without asking anybody: E is H(S), all behind it is missing for `reason`.

        Raises:
            Unavailable: the table was never loaded.
        """
        pin = self._pins.current(kind)
        end = end_vector(pin, None, {})
        missing = tuple(Missing(where, end[where], None, reason) for where in pin.open_partitions)
        return self._opened(pin, Want(), end, (), {}, (), missing)

    # S

    async def _pin(self, kind: RecordKind, want: Want) -> Pin:
        pin = self._pins.current(kind)
        if want.snapshot_id is not None:
            if want.snapshot_id not in pin.view.snapshots:
                pin = await self._pins.refresh(kind)
            try:
                # Its excluded ranges may be in a file.
                return await asyncio.to_thread(
                    pin_snapshot, kind.value, pin.view, want.snapshot_id, self._pins.ranges
                )
            except CatalogUnavailable as error:
                raise Unavailable(f"snapshot {want.snapshot_id} of table {kind.value}: {error}") from error
        named = want.floor.keys() if want.end is None else want.end.keys()
        if not pin.watermark.keys() | set(pin.open_partitions) >= named:
            # Another gateway may have pinned a stream that this one has not seen yet.
            with suppress(Unavailable):
                pin = await self._pins.refresh(kind)
        if want.end is not None:
            check_end(pin, want.end, want.revision)
        return pin

    async def _repinned(self, pin: Pin, want: Want, found: Sequence[Hole], call: Call) -> Pin:
        """The head, where the tail has moved on: what it has evicted is in the lake. Else the newest pin there is."""
        kind = RecordKind(pin.table)
        newest = self._pins.current(kind)
        if any(hole.reason in ("BELOW_TAIL", "TAIL_UNASSIGNED") for hole in found):
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(call.deadline_seconds - WAIT_MARGIN_SECONDS - time.monotonic()):
                    newest = await self._pins.refresh(kind)
        if want.end is not None:
            check_end(newest, want.end, want.revision)
        return newest

    # E

    async def _fixed(
        self, kind: RecordKind, asked: Sequence[Range], call: Call
    ) -> tuple[list[Range], list[Coverage]]:
        """Ranges with E decided beforehand: where the replicas are now, or further where it was asked for."""
        deadline = min(call.deadline_seconds, time.monotonic() + 1.0)
        now = await self._tails.positions(kind, asked, deadline)
        fixed = []
        for one in asked:
            part = now.get(one.where)
            now_at = one.first if part is None else reach(part)
            if one.next is None or now_at >= one.next:
                fixed.append(replace(one, next=now_at if now_at > one.first else None))
            else:
                fixed.append(one)
        return fixed, list(now.values())

    async def _end_at(
        self, pin: Pin, instant_us: int, call: Call
    ) -> tuple[dict[StreamPartition, int], list[Missing]]:
        """E_T by Kafka's index of append times; where Kafka does not answer, by where the tail stands."""
        partitions = pin.open_partitions

        def ask() -> list[int]:
            return [self._log.offset_after(pin, where, instant_us) for where in partitions]

        offsets: dict[StreamPartition, int] = {}
        marks: Mapping[StreamPartition, Coverage] = {}
        try:
            offsets = dict(zip(partitions, await self._fill.threads.run(ask), strict=True))
        except LogUnavailable:
            ranges = [Range(where, pin.topic_of(where), start_of(pin, where)) for where in partitions]
            marks = await self._tails.positions(RecordKind(pin.table), ranges, call.deadline_seconds)
        return end_at(pin, instant_us, offsets, marks)

    def _opened(
        self,
        pin: Pin,
        want: Want,
        end: Mapping[StreamPartition, int],
        tail: tuple[pl.DataFrame, ...],
        coverage: Mapping[StreamPartition, Coverage],
        marks: Sequence[Coverage],
        missing: tuple[Missing, ...],
    ) -> OpenTable:
        kind = RecordKind(pin.table)
        # Not E: a caller may have asked for offsets that there are not.
        self.seen.note(kind, {part.where: part.hi for part in (*coverage.values(), *marks)})
        now_us = self._now_us()
        header = TableHeader(
            table=pin.table,
            snapshot_id=pin.snapshot_id,
            pin_age_ms=self._pins.age_ms(kind),
            revision=pin.revision,
            watermark=dict(pin.watermark),
            end=dict(end),
            lo={where: part.lo for where, part in coverage.items()},
            excluded=excluded_to_name(pin, end),
            missing=missing,
            committed_age_ms=committed_age_ms(pin, end, marks, now_us),
        )
        return OpenTable(
            kind,
            pin,
            end,
            end if time_travels(pin, end) else None,
            tail,
            header,
            freshness_ms(pin, end, marks, now_us, want.known_at_us),
            want.known_at_us,
        )


def _tail_deadline(call: Call) -> float:
    """Until when the tail is waited for, by the monotonic clock."""
    left = max(0.0, call.deadline_seconds - time.monotonic())
    kept = min(max(LEAST_LOG_SECONDS, left * LOG_SHARE), MOST_LOG_SECONDS, left / 2)
    return call.deadline_seconds - max(kept, min(WAIT_MARGIN_SECONDS, left))
