"""The gap ledger as answers name it: holes in what the feed delivered that nobody has closed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.header import Gap
from seamark.query_gateway.opening import Opening
from seamark.query_gateway.ordered_rows import collect, ordered_frames
from seamark.query_gateway.question import Latest
from seamark.query_gateway.running import Call

_KIND = RecordKind.FEED_EVENTS
_OPEN = ("GAP_OPEN", "GAP_HEALING", "GAP_UNHEALABLE")
_CLOSED = ("GAP_HEALED", "GAP_EXPECTED_HOLE")
_COLUMNS = (
    *total_order(_KIND),
    "kafka_timestamp",
    "event_id",
    "kind",
    "exchange",
    "market",
    "timestamp",
    "symbol",
    "gap_id",
    "first_sequence",
    "last_sequence",
)
_MARGIN_US = 60_000_000
"""Brokers' clocks differ by less: events not folded yet were appended no earlier than this before the last."""
FOUND_LATER_US = 3_600_000_000
"""A gap is declared at most so long after its trades should have come."""


@dataclass(frozen=True, slots=True)
class _Known:
    gap: Gap
    declared_us: int


@dataclass(slots=True)
class GapLedger:
    """Gaps that are not closed, brought up to the newest event at each question."""

    _opening: Opening
    _open: dict[str, _Known] = field(default_factory=dict)
    _seen: dict[StreamPartition, int] = field(default_factory=dict)
    _since_us: int = 0
    """All that was appended earlier is folded."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def over(self, predicate: Predicate, call: Call) -> tuple[Gap, ...]:
        """Open gaps that touch the rows meant. Ask after the data's E is fixed: what it lacks is then named."""
        async with self._turn:
            await self._extend(call)
        return tuple(known.gap for known in self._open.values() if _touches(known, predicate))

    async def _extend(self, call: Call) -> None:
        began_us = time.time_ns() // 1000
        filters = (
            Filter("kind", Comparison.IN, (*_OPEN, *_CLOSED)),
            Filter("kafka_timestamp", Comparison.GE, (self._since_us,)),
        )
        opening = self._opening
        want = opening.want(Latest(), _KIND.value, "")
        opened = await opening.open(_KIND, Predicate(filters=filters), _COLUMNS, want, call)
        rows = await collect(
            ordered_frames(opened.table, opening.history(opened), opened.plan, _COLUMNS, call)
        )
        if rows is not None:
            self._fold(rows)
        if not opened.table.header.missing:
            self._since_us = max(self._since_us, began_us - opened.table.freshness_ms * 1000 - _MARGIN_US)

    def _fold(self, rows: pl.DataFrame) -> None:
        for row in rows.with_columns(pl.col("timestamp", "kafka_timestamp").to_physical()).iter_rows(
            named=True
        ):
            where = StreamPartition(row["stream_id"], row["kafka_partition"])
            if row["kafka_offset"] < self._seen.get(where, 0):
                continue
            self._seen[where] = row["kafka_offset"] + 1
            if row["kind"] in _CLOSED:
                self._open.pop(row["gap_id"], None)
                continue
            before = self._open.get(row["gap_id"])
            gap = Gap(
                row["gap_id"],
                row["exchange"],
                row["market"],
                row["symbol"],
                row["first_sequence"],
                row["last_sequence"],
                row["kind"].removeprefix("GAP_"),
            )
            self._open[row["gap_id"]] = _Known(gap, before.declared_us if before else row["timestamp"])


def _touches(known: _Known, predicate: Predicate) -> bool:
    if predicate.symbols and known.gap.symbol not in predicate.symbols:
        return False
    if predicate.from_us is not None and known.declared_us < predicate.from_us:
        return False
    return predicate.to_us is None or known.declared_us < predicate.to_us + FOUND_LATER_US
