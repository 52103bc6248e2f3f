"""The fold of first occurrence over the records of one partition, in offset order.

Trades (CONTIGUOUS): an id counts once per epoch. A record belongs to the epoch that its
venue time falls into. An id already accepted in the newest epoch that comes with a venue
time later than the greatest accepted one cannot be a repeat (a repeat carries its first
time): the venue has reset its numbers, and the record opens the next epoch.

Quotes (MONOTONE): only an update id greater than the last accepted one counts; one that is
not greater opens the next epoch if its time is more than 60 s later than the last accepted.

Both are written twice: `_trade_steps` and `_quote_steps` say the rule record by record;
the vectorised forms decide whole runs and hand any run with a reset to the former. A
property test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamark.market.schema import RecordKind
from seamark.sequencing.intervals import Ids, Intervals
from seamark.sequencing.state import (
    NEVER_US,
    PartitionState,
    QuoteSequence,
    SequenceKey,
    TradeEpoch,
    TradeSequence,
)

QUOTE_RESET_US = 60_000_000

Mask = npt.NDArray[np.bool_]
Epochs = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Records:
    """What the fold looks at of a run of records of one partition, in offset order."""

    keys: tuple[SequenceKey, ...]
    """The distinct keys of the run."""
    codes: npt.NDArray[np.unsignedinteger]
    """Index into `keys` of each record."""
    ids: Ids
    """Venue's id of each record."""
    venue_us: Ids
    """Venue time (quotes: venue or receive time) of each record, microseconds."""

    def between(self, low: int, high: int) -> Records:
        """The records [low, high) of the run."""
        return Records(self.keys, self.codes[low:high], self.ids[low:high], self.venue_us[low:high])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which records are rows."""

    accepted: Mask
    epochs: Epochs
    """id_epoch of each record; of no meaning where it is not accepted."""
    state: PartitionState
    """The state behind the last record."""


def fold(state: PartitionState, kind: RecordKind, records: Records) -> Verdict:
    """Judge a run of trades or quotes. `state` is left as it was."""
    count = len(records.ids)
    accepted = np.ones(count, dtype=np.bool_)
    epochs = np.zeros(count, dtype=np.int32)
    trades, quotes = dict(state.trades), dict(state.quotes)
    # Group by key, keeping offset order within each: a stable sort of small integers is a radix sort.
    order = np.argsort(records.codes, kind="stable")
    bounds = np.searchsorted(records.codes[order], np.arange(len(records.keys) + 1))
    ids, venue_us = records.ids[order], records.venue_us[order]
    for number, key in enumerate(records.keys):
        start, stop = bounds[number], bounds[number + 1]
        if start == stop:
            continue
        where = order[start:stop]
        if kind is RecordKind.TRADES:
            before = trades.get(key, _NO_TRADES)
            mask, epoch, trades[key] = fold_trades(before, ids[start:stop], venue_us[start:stop])
        else:
            last = quotes.get(key, _NO_QUOTES)
            mask, epoch, quotes[key] = fold_quotes(last, ids[start:stop], venue_us[start:stop])
        if mask is not None:
            accepted[where] = mask
        if isinstance(epoch, np.ndarray) or epoch:
            epochs[where] = epoch
    return Verdict(accepted, epochs, PartitionState(state.append_us, trades, quotes))


def append_times(state: PartitionState, append_us: Ids) -> tuple[Ids, PartitionState]:
    """(running maximum of the append time at each record, the state behind them).

    A broker's clock may step back at a change of leader; what was known when must not.
    """
    running = np.maximum.accumulate(np.maximum(append_us, state.append_us))
    last = int(running[-1]) if len(running) else state.append_us
    return running, PartitionState(last, state.trades, state.quotes)


_NO_TRADES = TradeSequence()
_NO_QUOTES = QuoteSequence()


def fold_trades(
    before: TradeSequence, ids: Ids, venue_us: Ids
) -> tuple[Mask | None, Epochs | int, TradeSequence]:
    """(mask of accepted or None for all, epoch of each or one for all, the sequence behind them)."""
    number, newest = len(before.epochs) - 1, before.epochs[-1]
    latest = int(venue_us.max())
    if number and int(venue_us.min()) < newest.opened_us:
        return _trade_steps(before, ids, venue_us)
    first, last, count = int(ids[0]), int(ids[-1]), len(ids)
    behind_all = not len(newest.ids.ends) or first > newest.ids.ends[-1]
    if behind_all and last - first == count - 1 and bool((ids[1:] > ids[:-1]).all()):
        # What nearly always holds: the next ids of an unbroken feed.
        run = Intervals(ids[:1].copy(), ids[-1:].copy())
        return None, number, _with_newest(before, newest.ids.union(run), latest)
    by_id = np.argsort(ids, kind="stable")
    repeated = np.zeros(count, dtype=np.bool_)
    repeated[by_id[1:]] = ids[by_id[1:]] == ids[by_id[:-1]]
    repeated |= newest.ids.contains(ids)
    if repeated.any():
        # Repeats below the maximum do not move it, so the maximum over all records is that over accepted ones
        # up to the first reset; where there is one, decide record by record.
        greatest = np.maximum.accumulate(np.concatenate(([before.greatest_us], venue_us[:-1])))
        if bool((repeated & (venue_us > greatest)).any()):
            return _trade_steps(before, ids, venue_us)
        accepted = ~repeated
        kept = ids[accepted]
        if not len(kept):
            return accepted, number, before
        latest = int(venue_us[accepted].max())
        return accepted, number, _with_newest(before, newest.ids.union(Intervals.of(kept)), latest)
    return None, number, _with_newest(before, newest.ids.union(Intervals.of(ids)), latest)


def _with_newest(before: TradeSequence, ids: Intervals, latest_us: int) -> TradeSequence:
    newest = TradeEpoch(before.epochs[-1].opened_us, ids)
    return TradeSequence((*before.epochs[:-1], newest), max(before.greatest_us, latest_us))


def _trade_steps(before: TradeSequence, ids: Ids, venue_us: Ids) -> tuple[Mask, Epochs, TradeSequence]:
    """The rule for trades, record by record."""
    opened = [epoch.opened_us for epoch in before.epochs]
    seen = [epoch.ids for epoch in before.epochs]
    fresh: list[set[int]] = [set() for _ in seen]
    greatest = before.greatest_us
    accepted = np.zeros(len(ids), dtype=np.bool_)
    epochs = np.zeros(len(ids), dtype=np.int32)
    for at, (trade_id, time_us) in enumerate(zip(ids.tolist(), venue_us.tolist(), strict=True)):
        epoch = len(opened) - 1
        while time_us < opened[epoch]:
            epoch -= 1
        if trade_id in fresh[epoch] or bool(seen[epoch].contains(ids[at : at + 1])[0]):
            if epoch < len(opened) - 1 or time_us <= greatest:
                continue
            opened.append(time_us)
            seen.append(Intervals.empty())
            fresh.append(set())
            epoch += 1
        fresh[epoch].add(trade_id)
        accepted[at] = True
        epochs[at] = epoch
        greatest = max(greatest, time_us)
    after = tuple(
        TradeEpoch(opened_us, old.union(Intervals.of(np.fromiter(new, np.int64, len(new)))))
        for opened_us, old, new in zip(opened, seen, fresh, strict=True)
    )
    return accepted, epochs, TradeSequence(after, greatest)


def fold_quotes(
    before: QuoteSequence, ids: Ids, venue_us: Ids
) -> tuple[Mask | None, Epochs | int, QuoteSequence]:
    """As `fold_trades`, for quotes."""
    if int(ids[0]) > before.greatest_id and (len(ids) == 1 or bool((ids[1:] > ids[:-1]).all())):
        latest = max(before.greatest_us, int(venue_us.max()))
        return None, before.epoch, QuoteSequence(before.epoch, int(ids[-1]), latest)
    greatest_id = np.maximum.accumulate(np.concatenate(([before.greatest_id], ids)))
    accepted = ids > greatest_id[:-1]
    times = np.where(accepted, venue_us, NEVER_US)
    greatest_us = np.maximum.accumulate(np.concatenate(([before.greatest_us], times)))
    if bool((~accepted & (venue_us > greatest_us[:-1] + QUOTE_RESET_US)).any()):
        return _quote_steps(before, ids, venue_us)
    return accepted, before.epoch, QuoteSequence(before.epoch, int(greatest_id[-1]), int(greatest_us[-1]))


def _quote_steps(before: QuoteSequence, ids: Ids, venue_us: Ids) -> tuple[Mask, Epochs, QuoteSequence]:
    """The rule for quotes, record by record."""
    epoch, greatest_id, greatest_us = before.epoch, before.greatest_id, before.greatest_us
    accepted = np.zeros(len(ids), dtype=np.bool_)
    epochs = np.zeros(len(ids), dtype=np.int32)
    for at, (update_id, time_us) in enumerate(zip(ids.tolist(), venue_us.tolist(), strict=True)):
        if update_id <= greatest_id:
            if time_us <= greatest_us + QUOTE_RESET_US:
                continue
            epoch += 1
        accepted[at] = True
        epochs[at] = epoch
        greatest_id = update_id
        greatest_us = max(greatest_us, time_us)
    return accepted, epochs, QuoteSequence(epoch, greatest_id, greatest_us)
