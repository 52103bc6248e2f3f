"""First occurrence as its rule reads, record by record, and runs of records to judge by it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.sequencing.fold import Records, fold
from seamark.sequencing.intervals import Intervals
from seamark.sequencing.state import (
    NEVER_US,
    PartitionState,
    QuoteSequence,
    SequenceKey,
    TradeEpoch,
    TradeSequence,
)

KEYS = tuple(SequenceKey("binance", "spot", "trade", symbol) for symbol in ("A", "B", "C"))
SECOND_US = 1_000_000

Record = tuple[int, int, int]
"""(index into KEYS, id, venue time in microseconds)."""


@dataclass
class _Trades:
    openings_us: list[int] = field(default_factory=lambda: [NEVER_US])
    ids: list[set[int]] = field(default_factory=lambda: [set()])
    greatest_us: int = NEVER_US


@dataclass
class _Quotes:
    epoch: int = 0
    last_id: int = -1
    greatest_us: int = NEVER_US


class Rule:
    """Judges records one after another."""

    def __init__(self, kind: RecordKind) -> None:
        self._judge = self._trade if kind is RecordKind.TRADES else self._quote
        self.trades: dict[int, _Trades] = {}
        self.quotes: dict[int, _Quotes] = {}

    def judge(self, record: Record) -> int | None:
        """The epoch of an accepted record, None of a repeat."""
        return self._judge(record)

    def _trade(self, record: Record) -> int | None:
        key, number, time_us = record
        known = self.trades.setdefault(key, _Trades())
        epoch = max(at for at, opening_us in enumerate(known.openings_us) if opening_us <= time_us)
        if number in known.ids[epoch]:
            newest = epoch == len(known.ids) - 1
            if not newest or time_us <= known.greatest_us:
                return None
            known.openings_us.append(time_us)
            known.ids.append(set())
            epoch += 1
        known.ids[epoch].add(number)
        known.greatest_us = max(known.greatest_us, time_us)
        return epoch

    def _quote(self, record: Record) -> int | None:
        key, number, time_us = record
        known = self.quotes.setdefault(key, _Quotes())
        if number <= known.last_id:
            if time_us - known.greatest_us <= 60 * SECOND_US:
                return None
            known.epoch += 1
        known.last_id = number
        known.greatest_us = max(known.greatest_us, time_us)
        return known.epoch

    def state(self, append_us: int = 0) -> PartitionState:
        """What the fold should remember."""
        return PartitionState(
            append_us,
            {
                KEYS[key]: TradeSequence(
                    tuple(
                        TradeEpoch(opening_us, intervals(ids))
                        for opening_us, ids in zip(known.openings_us, known.ids, strict=True)
                    ),
                    known.greatest_us,
                )
                for key, known in self.trades.items()
            },
            {
                KEYS[key]: QuoteSequence(known.epoch, known.last_id, known.greatest_us)
                for key, known in self.quotes.items()
            },
        )


def intervals(ids: set[int]) -> Intervals:
    """The definition: an interval for each run of neighbours."""
    starts = sorted(number for number in ids if number - 1 not in ids)
    ends = sorted(number for number in ids if number + 1 not in ids)
    return Intervals(np.array(starts, np.int64), np.array(ends, np.int64))


def columns(records: list[Record]) -> Records:
    """A run as the fold takes it, keys in order of first appearance."""
    present = list(dict.fromkeys(key for key, _, _ in records))
    return Records(
        tuple(KEYS[key] for key in present),
        np.array([present.index(key) for key, _, _ in records], np.uint16),
        np.array([number for _, number, _ in records], np.int64),
        np.array([time_us for _, _, time_us in records], np.int64),
    )


def judged(
    state: PartitionState, kind: RecordKind, records: list[Record]
) -> tuple[list[int | None], PartitionState]:
    """(epoch of each record or None, the state behind them) by the fold."""
    verdict = fold(state, kind, columns(records))
    pairs = zip(verdict.accepted.tolist(), verdict.epochs.tolist(), strict=True)
    return [epoch if accepted else None for accepted, epoch in pairs], verdict.state


def cut(records: list[Record], cuts: list[int]) -> list[list[Record]]:
    """`records` as runs, cut at these places; none is empty."""
    places = sorted({min(place, len(records)) for place in cuts} | {0, len(records)})
    return [records[first:last] for first, last in zip(places, places[1:], strict=False)]


def _unbroken(key: int, first: int, count: int, time_us: int) -> list[Record]:
    return [(key, first + at, time_us + at) for at in range(count)]


def _swapped(run: list[Record]) -> list[Record]:
    return [run[1], run[0], *run[2:]] if len(run) > 1 else run


@st.composite
def histories(draw: st.DrawFn, step_us: int = 1) -> list[Record]:
    """Records with everything that happens: unbroken feeds, repeats, swaps, late ones, resets.

    Times are multiples of `step_us`, give or take one microsecond.
    """
    key = st.integers(0, len(KEYS) - 1)
    number = st.integers(0, 12)
    time_us = st.builds(lambda steps, off: steps * step_us + off, st.integers(0, 20), st.integers(-1, 1))
    single = st.tuples(key, number, time_us).map(lambda record: [record])
    feed = st.builds(_unbroken, key, number, st.integers(1, 8), time_us)
    records: list[Record] = []
    for piece in draw(st.lists(single | feed | feed.map(_swapped) | st.just([]), min_size=1, max_size=12)):
        if piece:
            records += piece
        elif records:  # the last few once more, as a second leg sends them
            records += records[-draw(st.integers(1, 5)) :]
    return records or [(0, 0, 0)]
