"""Hand-made tables and batches: one stream of two partitions, ten records in each."""

from __future__ import annotations

from collections.abc import Mapping

from seamark.consumer_writer.batch import Batch, Range, batch_id
from seamark.lake.checkpoint import Checkpoint, Counters, StreamPartition, to_properties, to_summary
from seamark.lake.streams import Stream
from seamark.lake.view import SnapshotView, TableView
from seamark.market.schema import RecordKind
from seamark.sequencing.state import PartitionState

TOPIC = "market.crypto.trades.binance"
UUID = "0191d6f4-5f2e-7cc3-9c51-8e2f4f3a6a10"
P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
H = {where: Checkpoint(10, 0, "0" * 20, 1, 5, Counters(written=8, duplicate=2)) for where in (P0, P1)}
STREAM = Stream(1, "cluster", "id-1", TOPIC, 2, (0, 0), "{}", "hash")


def table(
    points: Mapping[StreamPartition, Checkpoint] = H,
    *streams: Stream,
    uuid: str = UUID,
    at_head: Mapping[StreamPartition, Checkpoint] | None = None,
) -> TableView:
    """A table at `points`, whose head's summary says `at_head` (the same unless given)."""
    properties = to_properties(points, uuid) | dict(one.to_property() for one in (STREAM, *streams))
    head = SnapshotView(1, None, 1, "append", to_summary(points if at_head is None else at_head, 0))
    return TableView(uuid, 1, properties, {1: head}, frozenset(), "0.0", None)


def range_of(first: int, next_offset: int, **counters: int) -> Range:
    """A range whose offsets are all written unless `counters` says more."""
    other = sum(counters.values())
    counts = Counters(written=next_offset - first - other, **counters)
    return Range(first, next_offset, 3, 9, counts, PartitionState(append_us=9))


def batch(ranges: Mapping[StreamPartition, Range], writer_id: str = "writer") -> Batch:
    return Batch(batch_id(ranges, writer_id), RecordKind.TRADES, ranges, {1: TOPIC}, {})
