"""A partition's state from the accepted rows alone: what the state file is checked against.

Recoverable because of what the fold keeps: an epoch's rows all carry venue times from its
opening on, and the record that opened it carries the earliest of them; within an epoch of
quotes the ids ascend. The running append time is not recoverable (repeats move it too): the
checkpoint carries it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from seamark.market.schema import RecordKind
from seamark.sequencing.intervals import Intervals
from seamark.sequencing.state import (
    NEVER_US,
    PartitionState,
    QuoteSequence,
    SequenceKey,
    TradeEpoch,
    TradeSequence,
)

HISTORY_COLUMNS = (
    "stream_id",
    "kafka_partition",
    "exchange",
    "market",
    "feed",
    "symbol",
    "source_sequence",
    "timestamp",
    "id_epoch",
)
"""What `Rebuild.add` needs of a row."""


@dataclass(slots=True)
class _Epoch:
    ids: Intervals = field(default_factory=Intervals.empty)
    first_us: int = -NEVER_US
    last_us: int = NEVER_US
    greatest_id: int = -1


class Rebuild:
    """Takes rows in any order and gives the states of one stream's partitions.

    A row of the stream itself counts in the partition it came through; a row of a stream
    that it succeeds counts where `partition_of` puts its symbol now.
    """

    def __init__(self, kind: RecordKind, stream_id: int, partition_of: Callable[[str], int]) -> None:
        self._kind = kind
        self._stream_id = stream_id
        self._partition_of = partition_of
        self._epochs: dict[tuple[int, SequenceKey], dict[int, _Epoch]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch with HISTORY_COLUMNS."""
        frame = pl.from_arrow(pa.table(batch).select(HISTORY_COLUMNS))
        assert isinstance(frame, pl.DataFrame)
        frame = frame.with_columns(pl.col("timestamp").to_physical())
        names = ["stream_id", "kafka_partition", "exchange", "market", "feed", "symbol", "id_epoch"]
        for values, rows in frame.group_by(names):
            stream_id, partition, exchange, market, feed, symbol, epoch_number = map(str, values)
            key = SequenceKey(exchange, market, feed, symbol)
            own = int(stream_id) == self._stream_id
            where = int(partition) if own else self._partition_of(symbol)
            epoch = self._epochs.setdefault((where, key), {}).setdefault(int(epoch_number), _Epoch())
            ids = rows["source_sequence"].to_numpy()
            times = rows["timestamp"].to_numpy()
            epoch.first_us = min(epoch.first_us, int(times.min()))
            epoch.last_us = max(epoch.last_us, int(times.max()))
            epoch.greatest_id = max(epoch.greatest_id, int(ids.max()))
            if self._kind is RecordKind.TRADES:
                epoch.ids = epoch.ids.union(Intervals.of(ids.astype(np.int64)))

    def state(self, partition: int, append_us: int) -> PartitionState:
        """The state of one partition."""
        trades: dict[SequenceKey, TradeSequence] = {}
        quotes: dict[SequenceKey, QuoteSequence] = {}
        for (where, key), epochs in self._epochs.items():
            if where != partition:
                continue
            newest = max(epochs)
            greatest_us = max(epoch.last_us for epoch in epochs.values())
            if self._kind is RecordKind.QUOTES:
                quotes[key] = QuoteSequence(newest, epochs[newest].greatest_id, greatest_us)
            else:
                trades[key] = TradeSequence(
                    tuple(
                        TradeEpoch(epochs[number].first_us if number else NEVER_US, epochs[number].ids)
                        for number in sorted(epochs)
                    ),
                    greatest_us,
                )
        return PartitionState(append_us, trades, quotes)
