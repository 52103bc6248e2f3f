"""The gap ledger as answers name it: holes in what the feed delivered that nobody has closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.consistency import want_of_ledger
from seamark.query_gateway.errors import Gone, TooCostly, Unavailable
from seamark.query_gateway.header import Gap
from seamark.query_gateway.opening import NamedGaps, Opened, Opening
from seamark.query_gateway.ordered_rows import collect
from seamark.query_gateway.pin import Known
from seamark.query_gateway.question import Consistency, Vector
from seamark.query_gateway.reading import OpenTable
from seamark.query_gateway.running import Call
from seamark.query_gateway.shared_run import SharedRun, share_seconds
from seamark.query_gateway.want import Want

logger = logging.getLogger(__name__)

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
_MOST_EVENTS = 100_000
"""Events that are kept, of less than a kilobyte each: with more, the next question begins anew."""
FOUND_LATER_US = 3_600_000_000
"""A gap is declared at most so long after its trades should have come."""


class _Event(NamedTuple):
    """What the ledger says of one gap. Sorted, events are in the order of the log."""

    stream_id: int
    partition: int
    offset: int
    appended_us: int
    event_id: str
    told_us: int
    gap: Gap
    """With the state that it has from here on."""


@dataclass(frozen=True, slots=True)
class _OpenGap:
    gap: Gap
    declared_us: int


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """The ledger at one moment."""

    open: tuple[_OpenGap, ...]
    table: OpenTable
    events: frozenset[_Event]
    """All of them, also where they are too many to be kept."""


class GapLedger:
    """Gaps that are not closed, by the newest event or by an earlier vector.

    Keeps every event about gaps, so that an earlier vector costs no reading from the beginning; they are
    as rare as gaps; with more than `_MOST_EVENTS` none are kept. Events of a reading that lacks a range count
    for nothing: what stands in the range would never be folded.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._events: frozenset[_Event] = frozenset()
        self._open: tuple[_OpenGap, ...] = ()
        """What all of them come to."""
        self._read_so_far = Known(None, {})
        """Revision and E of the last reading: with another revision, ranges may have come back that were taken out."""
        self._since_us = 0
        """All that was appended earlier is among the events."""
        self._shared = SharedRun("gap-ledger", self._extend)
        self._failing = ""

    async def over(self, consistency: Consistency, predicate: Predicate, call: Call) -> NamedGaps:
        """Open gaps that touch the rows meant, and the ledger's table. Ask after the data's E is fixed: what it
        lacks is then named.

        Takes a share of the call's time; who it does not suffice for, or where the ledger cannot be read
        whole, is told that gaps are not known.
        """
        want = want_of_ledger(consistency, _KIND.value, self._opening.codec.decode)
        if want is None:
            return NamedGaps(None)
        try:
            if want == Want():
                told = await self._shared.result(share_seconds(call))
            else:
                async with asyncio.timeout(share_seconds(call)):
                    told = await self._earlier(want, call)
        except (TimeoutError, Unavailable, Gone, TooCostly) as error:
            return self._unknown(error)
        self._failing = ""
        return NamedGaps(_touching(told.open, predicate), told.table)

    async def until(self, feed: Opened, predicate: Predicate, call: Call) -> NamedGaps:
        """As `over`, by the vector with which an answer has read the table of events for itself."""
        table = feed.table
        try:
            _check_whole(table)
            events = self._events
            if not _reaches(self._read_so_far.end, table.end):
                told = await self._shared.result(share_seconds(call))
                if not _reaches(told.table.end, table.end):
                    raise Unavailable("the ledger of gaps was read less far than the events of the answer")
                events = told.events
        except (TimeoutError, Unavailable, Gone, TooCostly) as error:
            return self._unknown(error)
        self._failing = ""
        return NamedGaps(_touching(_folded(events, table.end, table.known_at_us), predicate))

    def _unknown(self, error: Exception) -> NamedGaps:
        reason = str(error) or type(error).__name__
        if reason != self._failing:
            logger.warning("gaps are not known", extra={"error": reason})
        self._failing = reason
        return NamedGaps(None)

    async def _extend(self, call: Call) -> _Told:
        """Up to the newest event. Raises Unavailable: not all could be read; nothing is folded then."""
        opening = self._opening
        began_us, revision = opening.now_us(), opening.pins.current(_KIND).revision
        same = revision == self._read_so_far.revision
        opened, events = await self._read(Want(), self._since_us if same else 0, call)
        table = opened.table
        _check_whole(table)
        if not same:
            self._events, self._since_us = frozenset(), 0
        if not events <= self._events:
            self._events |= events
            self._open = _folded(self._events, None, None)
        # A pin that has changed in between may be of another revision: then all is read once more.
        self._read_so_far = Known(revision if table.pin.revision == revision else None, table.end)
        self._since_us = max(self._since_us, began_us - table.freshness_ms * 1000 - _MARGIN_US)
        told = _Told(self._open, table, self._events)
        if len(self._events) > _MOST_EVENTS:
            self._events, self._open, self._since_us = frozenset(), (), 0
            self._read_so_far = Known(None, {})
        return told

    async def _earlier(self, want: Want, call: Call) -> _Told:
        """By a vector that is given, or by a time."""
        if self._read_so_far.revision is None:
            # Else everything would be read for this one answer, and forgotten.
            await self._shared.result(share_seconds(call))
        kept = self._events
        opened, events = await self._read(want, self._since_us, call)
        table = opened.table
        _check_whole(table)
        return _Told(_folded(kept | events, table.end, want.known_at_us), table, kept | events)

    async def _read(self, want: Want, since_us: int, call: Call) -> tuple[Opened, frozenset[_Event]]:
        filters = (
            Filter("kind", Comparison.IN, (*_OPEN, *_CLOSED)),
            Filter("kafka_timestamp", Comparison.GE, (since_us,)),
        )
        predicate = Predicate(filters=filters, known_at_us=want.known_at_us)
        opened, rows = await self._opening.read(
            _KIND, predicate, _COLUMNS, want, call, collect, known=self._read_so_far
        )
        return opened, frozenset() if rows is None else _events(rows)


def _reaches(read: Vector, end: Vector) -> bool:
    return all(offset <= read.get(where, 0) for where, offset in end.items())


def _check_whole(table: OpenTable) -> None:
    """Raises Unavailable: what the ledger says may be missing in it."""
    if table.header.missing:
        names = ", ".join(str(gone.where) for gone in table.header.missing)
        raise Unavailable(f"the ledger of gaps lacks offsets of {names}")
    if table.pin.doubt:
        raise Unavailable(f"the ledger of gaps is in doubt: {table.pin.doubt}")


def _events(rows: pl.DataFrame) -> frozenset[_Event]:
    found = rows.with_columns(pl.col("timestamp", "kafka_timestamp").to_physical())
    return frozenset(
        _Event(
            row["stream_id"],
            row["kafka_partition"],
            row["kafka_offset"],
            row["kafka_timestamp"],
            row["event_id"],
            row["timestamp"],
            Gap(
                row["gap_id"],
                row["exchange"],
                row["market"],
                row["symbol"],
                row["first_sequence"],
                row["last_sequence"],
                row["kind"].removeprefix("GAP_"),
            ),
        )
        for row in found.iter_rows(named=True)
    )


def _folded(events: Iterable[_Event], end: Vector | None, known_at_us: int | None) -> tuple[_OpenGap, ...]:
    """What is open by the events below `end` that were appended until `known_at_us`; None: by all."""
    found: dict[str, _OpenGap] = {}
    told: set[str] = set()
    for event in sorted(events, key=lambda one: one[:3]):
        if end is not None and event.offset >= end.get(StreamPartition(event.stream_id, event.partition), 0):
            continue
        if known_at_us is not None and event.appended_us > known_at_us:
            continue
        if event.event_id in told:
            continue  # one event that was sent twice
        told.add(event.event_id)
        gap = event.gap
        if f"GAP_{gap.state}" in _CLOSED:
            found.pop(gap.gap_id, None)
            continue
        before = found.get(gap.gap_id)
        found[gap.gap_id] = _OpenGap(gap, before.declared_us if before else event.told_us)
    return tuple(found.values())


def _touching(known: Iterable[_OpenGap], predicate: Predicate) -> tuple[Gap, ...]:
    return tuple(one.gap for one in known if _touches(one, predicate))


def _touches(known: _OpenGap, predicate: Predicate) -> bool:
    gap = known.gap
    if predicate.symbols and gap.symbol not in predicate.symbols:
        return False
    named: Mapping[str, str] = {"exchange": gap.exchange, "market": gap.market}
    for one in predicate.filters:
        equal = one.comparison in (Comparison.EQ, Comparison.IN)
        if equal and one.column in named and named[one.column] not in one.values:
            return False
    if predicate.from_us is not None and known.declared_us < predicate.from_us:
        return False
    return predicate.to_us is None or known.declared_us < predicate.to_us + FOUND_LATER_US
