"""Reads the feed's sessions and progress and keeps what they came to, so that each is folded once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.finality import Event, Frontier
from seamark.query_gateway.opening import Opened, Opening
from seamark.query_gateway.ordered_rows import collect, ordered_frames
from seamark.query_gateway.question import AsKnownAt, AtCursor, AtSnapshot, BarsQuestion, Latest
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


@dataclass(slots=True)
class _Feed:
    """Events of one market since some time, folded."""

    since_us: int
    shards: dict[int, Frontier] = field(default_factory=dict)
    shard_of: dict[str, int] = field(default_factory=dict)
    seen: dict[StreamPartition, int] = field(default_factory=dict)
    """Offset behind the last event folded, by partition."""
    newest_us: dict[StreamPartition, int] = field(default_factory=dict)
    """Append time of that event."""

    @property
    def next_us(self) -> int:
        """What was not folded was appended no earlier: brokers' clocks differ by less than the margin."""
        return max(self.since_us, min(self.newest_us.values(), default=0) - _MARGIN_US)

    def add(self, rows: pl.DataFrame) -> None:
        """Fold events in the order of the log; those folded already are passed over."""
        for row in rows.iter_rows(named=True):
            where = StreamPartition(row["stream_id"], row["kafka_partition"])
            if row["kafka_offset"] < self.seen.get(where, 0):
                continue
            self.seen[where] = row["kafka_offset"] + 1
            self.newest_us[where] = row["appended_us"]
            shard = row["shard"]
            if row["kind"] == "SESSION_OPENED" and row["detail"]:
                self.shard_of.update(dict.fromkeys(json.loads(row["detail"])["symbols"], shard))
            acked = tuple(
                (one["topic_id"], one["partition"], one["next_offset"]) for one in row["acked"] or ()
            )
            self.shards.setdefault(shard, Frontier()).add(
                Event(row["kind"], row["appended_us"], row["leg"], row["session_id"], row["venue_us"], acked)
            )

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
        if isinstance(question.consistency, AsKnownAt | AtCursor | AtSnapshot):
            # An earlier vector: what was folded since must not speak.
            feed = _Feed(since_us)
            opened = await self._extend(feed, question, named, call)
            return feed.of(question.symbol), opened
        async with self._turn:
            feed = self._feeds.get(market)  # type: ignore[assignment]
            if feed is None or feed.since_us > since_us:
                feed = _Feed(since_us)
            opened = await self._extend(feed, question, named, call)
            self._feeds[market] = feed
        return feed.of(question.symbol), opened

    async def _extend(self, feed: _Feed, question: BarsQuestion, named: str, call: Call) -> Opened:
        consistency = question.consistency
        earlier = isinstance(consistency, AsKnownAt | AtCursor)
        want = (
            self._opening.want(consistency, _KIND.value, named)
            if earlier
            else self._opening.want(Latest(), _KIND.value, named)
        )
        filters = (
            Filter("kind", Comparison.IN, _KINDS),
            Filter("exchange", Comparison.EQ, (question.exchange,)),
            Filter("market", Comparison.EQ, (question.market,)),
            Filter("kafka_timestamp", Comparison.GE, (feed.next_us,)),
        )
        predicate = Predicate(filters=filters, known_at_us=want.known_at_us)
        opened = await self._opening.open(_KIND, predicate, _COLUMNS, want, call)
        rows = await collect(
            ordered_frames(opened.table, self._opening.history(opened), opened.plan, _COLUMNS, call)
        )
        if rows is not None and len(rows):
            rows = rows.with_columns(
                appended_us=pl.col("kafka_timestamp").to_physical(),
                venue_us=pl.col("venue_timestamp").to_physical(),
            )
            await asyncio.to_thread(feed.add, rows)
        return opened
