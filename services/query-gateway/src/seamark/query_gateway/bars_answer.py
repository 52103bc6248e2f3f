"""Answers questions for bars: ordered trades to partial states, and what the feed's events say of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple, TypeAlias

import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Clock, Comparison, Predicate, filter_of
from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import Answer, whole_answer
from seamark.query_gateway.bars import BARS_SCHEMA, COLUMNS, finished, merged, partial
from seamark.query_gateway.completeness import completeness, id_runs, united
from seamark.query_gateway.finality_index import FinalityIndex
from seamark.query_gateway.gaps import GapLedger
from seamark.query_gateway.kept_states import KeptStates, Reading
from seamark.query_gateway.merge import ordered, stacked
from seamark.query_gateway.opening import NamedGaps, Opened, Opening
from seamark.query_gateway.ordered_rows import needed_columns
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import INTERVALS_US, MINUTE_US, BarsQuestion, hash_of
from seamark.query_gateway.reading import OpenTable
from seamark.query_gateway.running import Call
from seamark.query_gateway.seen import routing_of
from seamark.query_gateway.sources import History, Window
from seamark.query_gateway.threads import done_by_rows

_KIND = RecordKind.TRADES
_READ = needed_columns(_KIND, COLUMNS)
_KEPT_BYTES = 64 * 1024**2
"""States of past minutes, of all symbols together."""
_MOST_LEARNED_ROWS = 5_000_000
"""Of a step, by the estimate: 400 MB while they are held, if all of them match."""
Place: TypeAlias = tuple[str, int]
"""Topic id and partition."""


class BarsAnswers:
    """Bars, with the state of each."""

    def __init__(self, opening: Opening, gaps: GapLedger | None = None) -> None:
        """`gaps`: None where nobody keeps a ledger of them."""
        self._opening = opening
        self._gaps = gaps
        self._finality = FinalityIndex(opening)
        self._kept = KeptStates(_KEPT_BYTES)
        self._traded: set[tuple[str, str, str]] = set()
        """Exchange, market and symbol of what was learned; all that are traded are few."""

    async def answer(self, question: BarsQuestion, call: Call) -> Answer:
        """Bars of intervals with trades, ascending; the first and the last may be cut by the question's range."""
        opening = self._opening
        interval_us = INTERVALS_US[question.interval]
        named = hash_of(
            "bars",
            question.exchange,
            question.market,
            question.symbol,
            question.from_us,
            question.to_us,
            question.interval,
        )
        want = opening.want(question.consistency, _KIND.value, named)
        instrument = (question.exchange, question.market, question.symbol)
        predicate = _trades_of(*instrument, question.from_us, question.to_us, want.known_at_us)
        granule_us = min(interval_us, MINUTE_US)
        reading = Reading()

        def stretches(opened: Opened) -> Sequence[Window] | None:
            nonlocal reading
            name = (*instrument, granule_us)
            reading = self._kept.reading(name, question.from_us, question.to_us, opened)
            return reading.windows

        async def take(frames: AsyncIterator[pl.DataFrame]) -> list[_Part]:
            parts: list[_Part] = []
            async with aclosing(frames):  # type: ignore[type-var]
                async for frame in frames:
                    parts.append(await done_by_rows(len(frame), _part, frame, granule_us))
                    call.rows += len(frame)
            return parts

        opened, read = await opening.read(_KIND, predicate, _READ, want, call, take, stretches=stretches)
        # The events' vector is read after the data's: what they say is settled is then below it.
        said = await self._finality.read(question, named, call)
        settled, feed = said.settled, said.opened
        gaps = NamedGaps()
        if self._gaps is not None:
            gaps = await self._gaps.until(feed, predicate, call)
        header = opening.header((opened, feed), named, Clock.EVENT, call, gaps)
        places, reached = _places(opened.table, question.symbol)
        lacking = any(gone.where in places for gone in opened.table.header.missing)

        def bars() -> pa.Table | None:
            """A day of minutes takes tens of milliseconds."""
            self._kept.keep(reading, _joined(read) if read else ())
            parts = [*read, *(_Part(*states) for states in reading.known if states)]
            if not parts:
                return None
            whole = _joined(parts)
            # What is read and what is known have no minute in common; what is read is in order.
            found = merged([whole.state.sort("start_us", maintain_order=True)], interval_us)
            starts = found["start_us"].to_list()
            offsets = _by_interval(whole.last_rows, interval_us)
            verdicts = [
                "provisional"
                # Cut by the range asked for: not the whole interval.
                if start < question.from_us or start + interval_us > question.to_us or settled is None
                else _state(settled.settled(start + interval_us), places, reached, offsets.get(start, {}))
                for start in starts
            ]
            if said.closed is None:
                return finished(found, verdicts, [None] * len(starts))
            counted = said.closed.within(question.from_us, question.to_us)
            ids = united(whole.ids)
            return finished(found, verdicts, completeness(starts, interval_us, ids, counted, lacking))

        return whole_answer(header, BARS_SCHEMA, await asyncio.to_thread(bars))

    def learn(
        self, pin: Pin, history: History, first_us: int, behind_us: int, cancelled: threading.Event
    ) -> int:
        """Keep what all symbols' minutes in [first, behind) of history come to, before anybody asks. Blocking.
        Returns how many rows that took; 0 also where it would be too many to hold or to look through.

        Raises:
            SnapshotGone, CatalogUnavailable: and what else reading history raises.
        """
        plan = history.plan(pin, Predicate(from_us=first_us, to_us=behind_us), _READ)
        if plan.estimate.rows > _MOST_LEARNED_ROWS:
            return 0
        frames = [*history.read(plan, Window(first_us, behind_us), None, cancelled)]
        if cancelled.is_set() or not frames:
            return 0
        rows = stacked(frames)
        traded = rows.partition_by("exchange", "market", "symbol", as_dict=True)
        self._traded |= {(str(exchange), str(market), str(symbol)) for exchange, market, symbol in traded}
        edges = range(first_us, behind_us + 1, MINUTE_US)
        for instrument in self._traded:
            of_instrument = history.plan(pin, _trades_of(*instrument, first_us, behind_us), _READ)
            mine = traded.get(instrument)
            # That there were no trades is worth knowing, too.
            states = _part(ordered([mine], _KIND, _READ, False), MINUTE_US) if mine is not None else ()
            self._kept.learn((*instrument, MINUTE_US), of_instrument, edges, states)
        return len(rows)


def _trades_of(
    exchange: str, market: str, symbol: str, from_us: int, to_us: int, known_at_us: int | None = None
) -> Predicate:
    filters = tuple(
        filter_of(_KIND, column, Comparison.EQ, (value,))
        for column, value in (("exchange", exchange), ("market", market))
    )
    return Predicate((symbol,), Clock.EVENT, from_us, to_us, filters, known_at_us)


class _Part(NamedTuple):
    """What rows of some times come to: minute by minute, or by shorter intervals. By `start_us`, ascending."""

    state: pl.DataFrame
    last_rows: pl.DataFrame
    """The last offsets of each interval, by partition."""
    ids: pl.DataFrame
    """Of each minute; see `id_runs`."""


def _part(frame: pl.DataFrame, granule_us: int) -> _Part:
    return _Part(partial(frame, granule_us), _last_offsets(frame, granule_us, "timestamp"), id_runs(frame))


def _joined(parts: Sequence[_Part]) -> _Part:
    """Several, one below the other."""
    return _Part(*(pl.concat(frames) for frames in zip(*parts, strict=True)))


def _last_offsets(frame: pl.DataFrame, interval_us: int, time: str) -> pl.DataFrame:
    start_us = pl.col(time).to_physical() // interval_us * interval_us
    keys = ("stream_id", "kafka_partition")
    last = frame.group_by(start_us.alias("start_us"), *keys).agg(pl.col("kafka_offset").max())
    return last.sort("start_us")


def _by_interval(last_rows: pl.DataFrame, interval_us: int) -> dict[int, dict[StreamPartition, int]]:
    """Greatest offset of the rows of each interval, by partition."""
    found: dict[int, dict[StreamPartition, int]] = {}
    for start, stream_id, partition, offset in _last_offsets(last_rows, interval_us, "start_us").iter_rows():
        found.setdefault(start, {})[StreamPartition(stream_id, partition)] = offset
    return found


def _places(table: OpenTable, symbol: str) -> tuple[dict[StreamPartition, Place], dict[Place, int]]:
    """Where the symbol's trades are and were, of closed streams too; and how far places are known, as legs name them.

    Streams that follow one another may share a topic: then E of a place is that of the last.
    """
    streams = table.pin.streams
    complete = dict(table.end)
    for gone in table.header.missing:
        complete[gone.where] = min(gone.first, complete.get(gone.where, 0))
    places = {
        StreamPartition(stream_id, partition): (stream.topic_id, partition)
        for stream_id, stream in streams.items()
        for partition in (routing_of(stream.routing).partition_of(symbol),)
    }
    reached: dict[Place, int] = {}
    for where, offset in complete.items():
        if where.stream_id in streams:
            place = (streams[where.stream_id].topic_id, where.partition)
            reached[place] = max(offset, reached.get(place, 0))
    return places, reached


def _state(
    acked: Mapping[Place, int] | None,
    places: Mapping[StreamPartition, Place],
    reached: Mapping[Place, int],
    offsets: Mapping[StreamPartition, int],
) -> str:
    """provisional: the legs have not said that it is over. final: they have, and all they meant (`acked`, V) is in
    the answer. revised: rows of it (`offsets`: its last ones) came behind that."""
    if acked is None or any(acked.get(place, 0) > reached.get(place, 0) for place in places.values()):
        return "provisional"
    beyond = any(offsets.get(where, -1) >= acked.get(place, 0) for where, place in places.items())
    return "revised" if beyond else "final"
