"""A table of trades with its log, moved on by hand: adopted as operators do, committed as the writer does."""

from __future__ import annotations

from collections.abc import Mapping

from seamark.consumer_writer.adopt import adopt, adopt_at_snapshot
from seamark.consumer_writer.decide import summary_of
from seamark.lake import checkpoint
from seamark.lake.checkpoint import Counters, ExcludedRange, StreamPartition, excluded_to_text
from seamark.lake.foreign import FOREIGN
from seamark.lake.view import Change, TableView
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind
from seamark.stream.log import TopicPartition
from twins.lake import MemoryStates, MemoryTable
from twins.log import MemoryLog

KIND = RecordKind.TRADES
TOPIC = "market.crypto.trades.binance"


class Lake:
    """One topic, one table. Records have no content here: their offsets and append times are what counts."""

    def __init__(
        self, partitions: int = 2, start: int = 0, kind: RecordKind = KIND, topic: str = TOPIC
    ) -> None:
        self.kind, self.topic = kind, topic
        self.table = MemoryTable()
        self.states = MemoryStates()
        self.log = MemoryLog()
        self.log.create(self.topic, partitions)
        if start:
            for partition in range(partitions):
                self.append(partition, *[0] * start)
                self.log.topics[self.topic].start[partition] = start
        self.adopt()

    def adopt(
        self, succeeds: int | None = None, lost: bool = False, tiers: Mapping[str, int] | None = None
    ) -> int:
        """The id of the new stream."""
        routing = routing_for(self.topic, self.kind, self.log.partitions(self.topic), tiers or {})
        adopted = adopt(self.table, self.states, self.log, self.kind, self.topic, routing, succeeds, lost)
        assert adopted is not None
        return adopted.stream.stream_id

    def adopt_head(self) -> None:
        assert self.table.head is not None
        adopt_at_snapshot(self.table, self.table.head)

    def append(self, partition: int, *append_us: int) -> None:
        for us in append_us:
            self.log.append(TopicPartition(self.topic, partition), None, us)

    def commit(self, *nexts: int, append_us: int = 0, lost: tuple[ExcludedRange, ...] = ()) -> int:
        """Move H of the open stream's partitions; the snapshot's id."""
        view = self.view
        stream = view.stream_of(self.topic)
        assert stream is not None
        moved = {}
        for partition, offset in enumerate(nexts):
            where = StreamPartition(stream.stream_id, partition)
            point = view.checkpoints[where]
            counters = Counters(written=offset - point.next)
            moved[where] = point.advanced(offset, 0, max(append_us, point.append_us), counters)
        revision = view.revision + bool(lost)
        text = (
            excluded_to_text((*checkpoint.excluded_from_text(view.excluded_text), *lost))
            if lost
            else view.excluded_text
        )
        properties = checkpoint.to_properties(moved, view.uuid) | {checkpoint.REVISION: str(revision)}
        if text:
            properties[checkpoint.EXCLUDED] = text
        mark = view.foreign(view.head_id).to_text()
        if mark:
            properties[FOREIGN] = mark
        summary = summary_of({**view.checkpoints, **moved}, revision, text, mark)
        self.table.commit(view, Change(properties, summary))
        assert self.table.head is not None
        return self.table.head

    def expire(self, *snapshots: int) -> None:
        for snapshot in snapshots:
            del self.table.snapshots[snapshot]

    @property
    def view(self) -> TableView:
        return self.table.load()

    @property
    def head(self) -> int:
        assert self.table.head is not None
        return self.table.head
