"""Reads the feed's sessions and progress and keeps what they came to, so that each is folded once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.finality import Event, Frontier
from seamark.query_gateway.opening import Opened, Opening
from seamark.query_gateway.ordered_rows import collect, ordered_frames
from seamark.query_gateway.question import AsKnownAt, AtCursor, BarsQuestion, Latest
from seamark.query_gateway.reading import Want
from seamark.query_gateway.running import Call

_KIND = RecordKind.FEED_EVENTS
_KINDS = ("SESSION_OPENED", "SESSION_CLOSED", "PROGRESS")
_COLUMNS = (
    *total_order(_KIND),
    "kafka_timestamp",
    "event_id",
    "kind",
    "exchange",
    "market",
    "timestamp",
    "shard",
    "leg",
    "session_id",
    "venue_timestamp",
    "acked",
    "detail",
)
_MARGIN_US = 60_000_000
"""Clocks of legs and venue differ by less: events about an interval are not stamped earlier than it begins."""
_LONGEST_SESSION_US = 90_000_000_000
"""Venues cut connections after a day."""
_MOST_SETTLED = 200_000
"""Settled times that are kept, over all shards of a market: with more, the next question begins anew."""


@dataclass(slots=True)
class _Feed:
    """Events of one market since some time, folded."""

    since_us: int
    shards: dict[int, Frontier] = field(default_factory=dict)
    shard_of: dict[str, int] = field(default_factory=dict)
    seen: dict[StreamPartition, int] = field(default_factory=dict)
    """Offset behind the last event folded, by partition."""
    next_us: int = 0
    """What is not folded was appended no earlier."""
    newest_us: int = 0
    """Append time of the newest event."""

    def add(self, rows: pl.DataFrame) -> None:
        """Fold events in the order of the log; those folded already are passed over."""
        for row in rows.iter_rows(named=True):
            where = StreamPartition(row["stream_id"], row["kafka_partition"])
            if row["kafka_offset"] < self.seen.get(where, 0):
                continue
            self.seen[where] = row["kafka_offset"] + 1
            self.newest_us = max(self.newest_us, row["appended_us"])
            self.place(row)
            acked = tuple(
                (one["topic_id"], one["partition"], one["next_offset"]) for one in row["acked"] or ()
            )
            self.shards.setdefault(row["shard"], Frontier()).add(
                Event(row["kind"], row["appended_us"], row["leg"], row["session_id"], row["venue_us"], acked)
            )

    def place(self, row: Mapping[str, Any]) -> None:
        """Which symbols a shard has: what its newest session says."""
        if row["kind"] == "SESSION_OPENED" and row["detail"]:
            self.shard_of.update(dict.fromkeys(json.loads(row["detail"])["symbols"], row["shard"]))

    def of(self, symbol: str) -> Frontier | None:
        """Of the symbol's shard; where nobody has said which that is, and there is one, of that."""
        shard = self.shard_of.get(symbol)
        if shard is None and len(self.shards) == 1:
            (shard,) = self.shards
        return None if shard is None else self.shards.get(shard)


class FinalityIndex:
    """Frontiers by market, brought up to the newest event at each question."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._turn = asyncio.Lock()

    async def read(self, question: BarsQuestion, named: str, call: Call) -> tuple[Frontier | None, Opened]:
        """What the legs of the symbol have said, and the table of events as it was read."""
        since_us = question.from_us - _MARGIN_US
        market = (question.exchange, question.market)
        if isinstance(question.consistency, AsKnownAt | AtCursor):
            # An earlier vector: what was folded since must not speak.
            feed = _Feed(since_us, next_us=since_us)
            opened = await self._extend(feed, question, named, call)
            return feed.of(question.symbol), opened
        async with self._turn:
            # Taken out while it is worked on: whoever fails in between leaves nothing half folded.
            known = self._feeds.pop(market, None)
            feed = known if known and known.since_us <= since_us else _Feed(since_us, next_us=since_us)
            opened = await self._extend(feed, question, named, call)
            settled = sum(len(frontier) for frontier in feed.shards.values())
            if not opened.table.header.missing and settled <= _MOST_SETTLED:
                self._feeds[market] = feed
        return feed.of(question.symbol), opened

    async def _extend(self, feed: _Feed, question: BarsQuestion, named: str, call: Call) -> Opened:
        earlier = isinstance(question.consistency, AsKnownAt | AtCursor)
        want = self._opening.want(question.consistency if earlier else Latest(), _KIND.value, named)
        newer = Filter("kafka_timestamp", Comparison.GE, (feed.next_us,))
        opened, rows = await self._events(question, _KINDS, (newer,), want, call)
        if rows is not None:
            await asyncio.to_thread(feed.add, rows)
        feed.next_us = max(feed.next_us, feed.newest_us - opened.table.freshness_ms * 1000 - _MARGIN_US)
        if feed.of(question.symbol) is None and feed.shards:
            # Several shards, and the session that has the symbol began before all these events.
            old = tuple(
                Filter("kafka_timestamp", comparison, (at_us,))
                for comparison, at_us in (
                    (Comparison.GE, feed.since_us - _LONGEST_SESSION_US),
                    (Comparison.LT, feed.since_us),
                )
            )
            want = replace(want, end=opened.table.end)
            _, rows = await self._events(question, ("SESSION_OPENED",), old, want, call)
            for row in rows.iter_rows(named=True) if rows is not None else ():
                feed.place(row)
        return opened

    async def _events(
        self,
        question: BarsQuestion,
        kinds: tuple[str, ...],
        filters: tuple[Filter, ...],
        want: Want,
        call: Call,
    ) -> tuple[Opened, pl.DataFrame | None]:
        filters = (
            Filter("kind", Comparison.IN, kinds),
            Filter("exchange", Comparison.EQ, (question.exchange,)),
            Filter("market", Comparison.EQ, (question.market,)),
            *filters,
        )
        predicate = Predicate(filters=filters, known_at_us=want.known_at_us)
        opened = await self._opening.open(_KIND, predicate, _COLUMNS, want, call)
        rows = await collect(
            ordered_frames(opened.table, self._opening.history(opened), opened.plan, _COLUMNS, call)
        )
        if rows is not None:
            rows = rows.with_columns(
                appended_us=pl.col("kafka_timestamp").to_physical(),
                venue_us=pl.col("venue_timestamp").to_physical(),
            )
        return opened, rows
