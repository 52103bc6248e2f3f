"""Which partitions a table's state asks to begin and to close."""

import dataclasses

import pytest

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.streams import Stream
from seamark.stream.log import TopicPartition
from seamark.tail_cache.decide import Decision, decide
from seamark.tail_cache.partition import Stop, View

TOPIC = "market.crypto.trades.binance"
STREAM = Stream(1, "here", "id-1", TOPIC, 2, (0, 0), "{}", "hash")
P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
T0, T1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def at(next_: int) -> Checkpoint:
    return Checkpoint(next_, 0, "batch", 1, 5)


def view(
    where: StreamPartition = P0, lo: int = 100, hi: int = 200, h: int = 150, stopped: Stop | None = None
) -> View:
    return View(where, T0, lo, hi, 0, hi, at(h), True, stopped, ())


def decided(held=(), streams=(STREAM,), points=None, mine=lambda topic, partition: True) -> Decision:
    points = {P0: at(150), P1: at(150)} if points is None else points
    return decide(
        {stream.stream_id: stream for stream in streams},
        points,
        {one.where: one for one in held},
        mine,
        "here",
    )


def test_all_partitions_of_an_open_stream_are_begun():
    assert decided() == Decision({P0: T0, P1: T1}, ())


def test_what_is_held_is_left_alone():
    assert decided([view(), view(P1)]) == Decision({}, ())


def test_a_replica_begins_its_own_partitions_alone():
    assert decided(mine=lambda topic, partition: (topic, partition) == (TOPIC, 1)) == Decision({P1: T1}, ())


def test_streams_of_another_cluster_are_not_begun():
    assert decided(streams=[dataclasses.replace(STREAM, cluster_id="there")]) == Decision({}, ())


def test_a_stream_that_was_succeeded_is_closed_and_its_successor_begun():
    successor = dataclasses.replace(STREAM, stream_id=2, topic_id="id-2", succeeds=1)
    decision = decided([view(), view(P1, stopped=Stop.CLOSED)], [STREAM, successor])
    assert decision == Decision({StreamPartition(2, 0): T0, StreamPartition(2, 1): T1}, (P0,))


@pytest.mark.parametrize(
    ("held", "h", "begun"),
    [
        (view(stopped=Stop.LOG_LOST), 150, True),
        (view(stopped=Stop.FOREIGN_TOPIC), 150, True),
        (view(stopped=Stop.UNREADABLE), 200, False),  # it would stop at the same record
        (view(stopped=Stop.UNREADABLE), 201, True),  # the table is past it
        (view(), 90, True),  # a rollback was adopted: rows that went are wanted again
        (view(), 120, False),  # they are still here
        (view(lo=150, h=100), 100, False),  # the log began behind H: there is no more to have
        (view(lo=150, h=100), 90, True),
        (view(), 900, False),  # behind the table, and reading on
    ],
)
def test_a_partition_is_begun_anew_when_that_brings_more(held, h, begun):
    assert (P0 in decided([held, view(P1)], points={P0: at(h), P1: at(150)}).begin) == begun


def test_a_partition_without_a_checkpoint_is_asked_for_so_that_the_reason_is_said():
    assert decided(points={P1: at(150)}, held=[view(P1)]).begin == {P0: T0}
