"""Reads the feed's sessions, progress and closed intervals and keeps what they came to: each is folded once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Filter, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.closed_minutes import ClosedMinutes, SymbolMinutes
from seamark.query_gateway.finality import Event, Frontier, Settled
from seamark.query_gateway.opening import Opened, Opening
from seamark.query_gateway.ordered_rows import collect
from seamark.query_gateway.pin import Known
from seamark.query_gateway.question import AsKnownAt, AtCursor, BarsQuestion
from seamark.query_gateway.running import Call
from seamark.query_gateway.shared_run import SharedRun, share_seconds
from seamark.query_gateway.threads import done_by_rows
from seamark.query_gateway.want import Want

_KIND = RecordKind.FEED_EVENTS
_CLOSED = "INTERVAL_CLOSED"
_KINDS = ("SESSION_OPENED", "SESSION_CLOSED", "PROGRESS", _CLOSED)
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
    "feed",
    "symbol",
    "first_sequence",
    "last_sequence",
    "detail",
)
_MARGIN_US = 60_000_000
"""Clocks of legs and venue differ by less: events about an interval are not stamped earlier than it begins."""
_LONGEST_SESSION_US = 90_000_000_000
"""Venues cut connections after a day."""
_MOST_SETTLED = 200_000
"""Settled times that are kept, over all shards of a market: with more, the next question begins anew."""
_MOST_CLOSED = 1_000_000
"""Closed minutes that are kept of a market, as with settled times: 24 bytes each."""
_MOST_MARKETS = 64
"""Markets that are kept: those that were asked for last."""

MarketName: TypeAlias = tuple[str, str]
"""Exchange and market."""


@dataclass(slots=True)
class _Feed:
    """Events of one market since some time, folded."""

    since_us: int
    shards: dict[int, Frontier] = field(default_factory=dict)
    shard_of: dict[str, int] = field(default_factory=dict)
    closed: ClosedMinutes = field(default_factory=ClosedMinutes)
    seen: dict[StreamPartition, int] = field(default_factory=dict)
    """Offset behind the last event folded, by partition."""
    next_us: int = 0
    """What is not folded was appended no earlier."""
    newest_us: int = 0
    """Append time of the newest event."""
    known: Known = Known(None, {})
    """What was read."""

    def add(self, rows: pl.DataFrame) -> None:
        """Fold events in the order of the log; those folded already are passed over."""
        by_partition = rows.partition_by(
            "stream_id", "kafka_partition", maintain_order=True, as_dict=True
        ).items()
        for where, given in by_partition:
            place = StreamPartition(*where)
            fresh = given.filter(pl.col("kafka_offset") >= self.seen.get(place, 0))
            if fresh.is_empty():
                continue
            self.seen[place] = fresh["kafka_offset"][-1] + 1
            self.newest_us = max(self.newest_us, fresh["appended_us"].to_numpy().max().item())
            closed = fresh["kind"] == _CLOSED
            if closed.any():  # those of all symbols: many, and all alike
                self.closed.add(fresh.filter(closed))
            self._add_sessions(fresh.filter(~closed))

    def _add_sessions(self, rows: pl.DataFrame) -> None:
        for row in rows.iter_rows(named=True):
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

    def told(self, opened: Opened, asked: Sequence[_Asked]) -> _Told:
        """What stands now, for those who asked; it stays, whatever is folded later."""
        shards = {shard: frontier.now() for shard, frontier in self.shards.items()}
        symbols = {one.symbol for one in asked}
        shard_of = {symbol: self.shard_of[symbol] for symbol in symbols & self.shard_of.keys()}
        return _Told(shards, shard_of, self.closed.now(symbols), opened)


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What the legs of one market had said at one moment."""

    shards: Mapping[int, Settled]
    shard_of: Mapping[str, int]
    """Of symbols asked for."""
    closed: Mapping[str, SymbolMinutes]
    opened: Opened
    """The table of events as it was read for it."""

    def of(self, symbol: str) -> Said:
        """Of the symbol's shard; where nobody has said which that is, and there is one, of that. Nothing where
        events are missing: a leg that is not heard may be behind."""
        if self.opened.table.header.missing:
            return Said(None, None, self.opened)
        shard = self.shard_of.get(symbol)
        if shard is None and len(self.shards) == 1:
            (shard,) = self.shards
        settled = None if shard is None else self.shards.get(shard)
        return Said(settled, self.closed.get(symbol), self.opened)


class Said(NamedTuple):
    """What was said of one symbol. None: nothing is known."""

    settled: Settled | None
    closed: SymbolMinutes | None
    opened: Opened
    """The table of events as it was read for it."""


class _Asked(NamedTuple):
    since_us: int
    symbol: str


@dataclass(slots=True, eq=False)
class _Market:
    """What is kept of one market, and who waits for it to be brought up to date."""

    shared: SharedRun[_Told]
    feed: _Feed | None = None
    asked: list[_Asked] = field(default_factory=list)
    """By callers that no run has begun for."""


class FinalityIndex:
    """Frontiers by market, brought up to the newest event for all who ask at the same time."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._markets: dict[MarketName, _Market] = {}
        """Those with legs, the one that was asked for last at the end, and those that are being read."""

    def __len__(self) -> int:
        """Markets that are kept or being read."""
        return len(self._markets)

    async def read(self, question: BarsQuestion, named: str, call: Call) -> Said:
        """What the legs of the symbol have said. Where reading takes more than a share of the call's time, the table
        is named as missing.

        Raises:
            Unavailable: events cannot be read. Gone: those of a cursor cannot be given any more.
        """
        name = (question.exchange, question.market)
        asked = _Asked(question.from_us - _MARGIN_US, question.symbol)
        if isinstance(question.consistency, AsKnownAt | AtCursor):
            # An earlier vector: what was folded since must not speak.
            want = self._opening.want(question.consistency, _KIND.value, named)
            feed = _Feed(asked.since_us, next_us=asked.since_us)
            told = await self._extend(name, feed, [asked], want, call)
            return told.of(asked.symbol)
        market = self._markets.pop(name, None) or _Market(SharedRun("finality", partial(self._run, name)))
        self._markets[name] = market
        market.asked.append(asked)
        try:
            told = await market.shared.result(share_seconds(call))
        except TimeoutError:
            return Said(None, None, self._opening.unread(_KIND, "NOT_REACHED"))
        finally:
            self._forget()
        return told.of(asked.symbol)

    def _forget(self) -> None:
        """Markets that no leg speaks of, and those beyond the cap; none that somebody waits for."""
        idle = [name for name, market in self._markets.items() if market.shared.idle]
        for name in idle:
            if self._markets[name].feed is None or len(self._markets) > _MOST_MARKETS:
                del self._markets[name]

    async def _run(self, name: MarketName, call: Call) -> _Told:
        """One run for all who wait."""
        market = self._markets[name]
        asked, market.asked = market.asked, []
        since_us = min(one.since_us for one in asked)
        # Taken out while it is worked on: a run that fails in between leaves nothing half folded.
        known, market.feed = market.feed, None
        feed = known if known and known.since_us <= since_us else _Feed(since_us, next_us=since_us)
        told = await self._extend(name, feed, asked, Want(), call)
        settled = sum(len(frontier) for frontier in feed.shards.values())
        bounded = settled <= _MOST_SETTLED and len(feed.closed) <= _MOST_CLOSED
        if feed.shards and not told.opened.table.header.missing and bounded:
            market.feed = feed
        return told

    async def _extend(
        self, name: MarketName, feed: _Feed, asked: Sequence[_Asked], want: Want, call: Call
    ) -> _Told:
        newer = Filter("kafka_timestamp", Comparison.GE, (feed.next_us,))
        opened, rows = await self._events(name, _KINDS, (newer,), want, call, feed.known)
        if rows is not None:
            await done_by_rows(len(rows), feed.add, rows)
        feed.known = Known(opened.table.pin.revision, opened.table.end)
        feed.next_us = max(feed.next_us, feed.newest_us - opened.table.freshness_ms * 1000 - _MARGIN_US)
        if len(feed.shards) > 1 and any(one.symbol not in feed.shard_of for one in asked):
            # The session that has the symbol began before all these events.
            old = tuple(
                Filter("kafka_timestamp", comparison, (at_us,))
                for comparison, at_us in (
                    (Comparison.GE, feed.since_us - _LONGEST_SESSION_US),
                    (Comparison.LT, feed.since_us),
                )
            )
            want = replace(want, end=opened.table.end)
            _, rows = await self._events(name, ("SESSION_OPENED",), old, want, call)
            for row in rows.iter_rows(named=True) if rows is not None else ():
                feed.place(row)
        return feed.told(opened, asked)

    async def _events(
        self,
        name: MarketName,
        kinds: tuple[str, ...],
        filters: tuple[Filter, ...],
        want: Want,
        call: Call,
        known: Known | None = None,
    ) -> tuple[Opened, pl.DataFrame | None]:
        filters = (
            Filter("kind", Comparison.IN, kinds),
            Filter("exchange", Comparison.EQ, (name[0],)),
            Filter("market", Comparison.EQ, (name[1],)),
            *filters,
        )
        predicate = Predicate(filters=filters, known_at_us=want.known_at_us)
        opened, rows = await self._opening.read(_KIND, predicate, _COLUMNS, want, call, collect, known=known)
        if rows is not None:
            rows = rows.with_columns(
                appended_us=pl.col("kafka_timestamp").to_physical(),
                venue_us=pl.col("venue_timestamp").to_physical(),
            )
        return opened, rows
