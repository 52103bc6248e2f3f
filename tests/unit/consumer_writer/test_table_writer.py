"""Which leader epoch a checkpoint keeps: that of the record below H, or none."""

import pytest

from seamark.consumer_writer.adopt import adopt
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.table_writer import Start, TableWriter
from seamark.lake.checkpoint import StreamPartition
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder
from seamark.stream.errors import Stopped
from seamark.stream.log import TopicPartition
from seamark.stream.wire import frame_prefix
from twins.lake import MemoryStates, MemoryTable
from twins.log import MemoryDeadLetters, MemoryLog

KIND = RecordKind.TRADES
WHERE = TopicPartition("market.crypto.trades.binance", 0)
REFUSED, UNKNOWN = b"", frame_prefix(99) + b"later"


class World:
    def __init__(self):
        self.log, self.table, self.states = MemoryLog(), MemoryTable(), MemoryStates()
        self.log.create(WHERE.topic, 1)
        adopt(self.table, self.states, self.log, KIND, WHERE.topic, routing_for(WHERE.topic, KIND, 1, {}))

    def append(self, *values):
        for value in values:
            self.log.append(WHERE, value, 0)

    def writer(self, on_log_start="stop"):
        return TableWriter(
            KIND,
            self.table,
            self.states,
            self.log,
            Decoder(KIND),
            MemoryDeadLetters(),
            "writer",
            ExpiryPolicy(),
            on_log_start,
        )

    def commit(self, writer):
        """(H, its leader epoch) after all that the writer takes is committed."""
        writer.observe([self.log.read(WHERE, writer.position(WHERE), 1_000)])
        writer.send(writer.prepare(writer.seal(), 0))
        point = self.table.load().checkpoints[StreamPartition(1, 0)]
        return point.next, point.leader_epoch


@pytest.fixture
def world():
    return World()


def test_it_is_the_epoch_of_the_last_record_that_was_decided(world):
    world.append(REFUSED, REFUSED)
    world.log.truncate(WHERE, 2)  # no record is lost; another leader goes on
    world.append(REFUSED, UNKNOWN)
    world.log.truncate(WHERE, 4)
    world.append(REFUSED)
    writer = world.writer()
    writer.assign([WHERE])
    assert world.commit(writer) == (3, 1)
    assert world.writer().assign([WHERE]) == {WHERE: Start(3, 1)}


def test_a_record_that_was_committed_and_cut_off_stops_the_writer_although_there_is_another(world):
    world.append(*[REFUSED] * 10)
    writer = world.writer()
    writer.assign([WHERE])
    assert world.commit(writer) == (10, 0)
    world.log.truncate(WHERE, 5)
    world.append(*[REFUSED] * 20)
    with pytest.raises(Stopped, match="H was 10, the record below it has leader epoch 1, must have 0"):
        world.writer().assign([WHERE])


def test_there_is_none_where_what_lies_below_was_lost(world):
    world.append(*[REFUSED] * 10)
    writer = world.writer()
    writer.assign([WHERE])
    world.commit(writer)
    world.append(*[REFUSED] * 5)
    world.log.topics[WHERE.topic].start[0] = 15
    writer = world.writer("lost")
    assert writer.assign([WHERE]) == {WHERE: Start(15, -1)}
    assert world.commit(writer) == (15, -1)
    world.append(REFUSED)
    assert world.writer().assign([WHERE]) == {WHERE: Start(15, -1)}
