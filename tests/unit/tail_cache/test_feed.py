"""The Kafka edge of the tail: a pause holds for what it is told to hold for, and no longer."""

import time

import pytest

from seamark.stream.log import TopicPartition
from seamark.tail_cache.feed import Feed
from seamark.tail_cache.source import Start
from twins.broker import MockBroker

TOPIC = "market.crypto.trades.binance"
RECORDS = 40
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def broker():
    mock = MockBroker()
    for where in (FIRST, SECOND):
        mock.append(TOPIC, where.partition, [b"%d" % number for number in range(RECORDS)])
    return mock


@pytest.fixture
def feed(broker):
    opened = Feed(broker.bootstrap)
    yield opened
    opened.close()


def read_to_the_end(feed, *wanted):
    """First offset read of each partition, when the last of all wanted ones was read."""
    firsts, lasts = {}, {}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while {where for where, last in lasts.items() if last == RECORDS - 1} < {*wanted}:
        assert time.monotonic() < deadline, f"read from {firsts} to {lasts}"
        for run in feed.poll(100, 0.05):
            firsts.setdefault(run.where, int(run.offsets[0]))
            lasts[run.where] = int(run.offsets[-1])
    return firsts


def test_a_partition_begun_anew_after_a_pause_is_read(feed):
    feed.begin({FIRST: Start(0, -1)})
    read_to_the_end(feed, FIRST)
    feed.pause(True)
    feed.end([FIRST])
    feed.pause(False)
    feed.begin({FIRST: Start(7, -1)})
    assert read_to_the_end(feed, FIRST) == {FIRST: 7}


def test_a_pause_holds_for_what_is_begun_in_it_and_ends_for_all(feed):
    feed.begin({FIRST: Start(0, -1)})
    read_to_the_end(feed, FIRST)
    feed.pause(True)
    feed.begin({FIRST: Start(3, -1), SECOND: Start(5, -1)})
    assert feed.poll(100, 0.5) == []
    feed.pause(False)
    assert read_to_the_end(feed, FIRST, SECOND) == {FIRST: 3, SECOND: 5}
