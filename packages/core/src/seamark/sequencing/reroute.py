"""States of a stream for the stream that succeeds it, where symbols live in other partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seamark.sequencing.state import PartitionState, QuoteSequence, SequenceKey, TradeEpoch, TradeSequence


def reroute(
    states: Iterable[PartitionState], partitions: int, partition_of: Callable[[str], int]
) -> list[PartitionState]:
    """The same memory by new partition; the append time begins anew with the new log.

    A symbol that a wrong producer had spread over partitions comes together again.
    """
    trades: list[dict[SequenceKey, TradeSequence]] = [{} for _ in range(partitions)]
    quotes: list[dict[SequenceKey, QuoteSequence]] = [{} for _ in range(partitions)]
    for state in states:
        for key, trade in state.trades.items():
            home = trades[partition_of(key.symbol)]
            home[key] = _joined(home[key], trade) if key in home else trade
        for key, quote in state.quotes.items():
            home_ = quotes[partition_of(key.symbol)]
            last = home_.get(key, quote)
            newest = max(last, quote, key=lambda sequence: (sequence.epoch, sequence.greatest_id))
            home_[key] = QuoteSequence(
                newest.epoch, newest.greatest_id, max(last.greatest_us, quote.greatest_us)
            )
    return [PartitionState(0, trades[number], quotes[number]) for number in range(partitions)]


def _joined(one: TradeSequence, other: TradeSequence) -> TradeSequence:
    longer, shorter = sorted((one, other), key=lambda sequence: len(sequence.epochs), reverse=True)
    epochs = list(longer.epochs)
    for number, epoch in enumerate(shorter.epochs):
        epochs[number] = TradeEpoch(
            min(epochs[number].opened_us, epoch.opened_us), epochs[number].ids.union(epoch.ids)
        )
    return TradeSequence(tuple(epochs), max(one.greatest_us, other.greatest_us))
