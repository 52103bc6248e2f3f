"""The Kafka edge of reading: where it begins, what a pause outlives, which errors end it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from confluent_kafka import KafkaError

from seamark.consumer_writer.kafka import KafkaSource, stop_reason
from seamark.consumer_writer.table_writer import Start
from seamark.stream.log import TopicPartition
from twins.broker import PARTITIONS, MockBroker

TOPIC = "market.crypto.trades.binance"
RECORDS = 40
ALL = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
DEADLINE_SECONDS = 20.0


class Members:
    """A `Listener` that hands out these starts and keeps what it is told."""

    def __init__(self, starts: Mapping[TopicPartition, Start]) -> None:
        self.starts = starts
        self.held: set[TopicPartition] = set()
        self.assignments = 0

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Start]:
        self.held.update(partitions)
        self.assignments += 1
        return {where: self.starts[where] for where in partitions if where in self.starts}

    def revoked(self, partitions: Sequence[TopicPartition], lost: bool) -> None:
        self.held.difference_update(partitions)


@pytest.fixture(scope="module")
def broker():
    mock = MockBroker()
    for where in ALL:
        mock.append(TOPIC, where.partition, [b"%d" % number for number in range(RECORDS)])
    return mock


@pytest.fixture
def join(broker, request):
    """A member of this test's own group, which leaves with the test unless it has left before."""
    sources = []

    def member(starts: Mapping[TopicPartition, Start]) -> tuple[KafkaSource, Members]:
        members = Members(starts)
        source = KafkaSource(broker.bootstrap, request.node.name, [TOPIC], members, {})
        sources.append(source)
        return source, members

    yield member
    for source in sources:
        source.close()


def read(source, *others, until):
    """First and last offset read of each partition; the others of the group are polled meanwhile."""
    seen: dict[TopicPartition, tuple[int, int]] = {}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not until(seen):
        assert time.monotonic() < deadline, f"read {seen}"
        for other in others:
            other.poll(100, 0.02)
        for run in source.poll(100, 0.05):
            first, _ = seen.get(run.where, (int(run.offsets[0]), 0))
            seen[run.where] = (first, int(run.offsets[-1]))
    return seen


def to_the_end(partitions):
    return lambda seen: {where for where, (_, last) in seen.items() if last == RECORDS - 1} >= set(partitions)


STARTS = {where: Start(5 * where.partition, -1) for where in ALL}
FROM_START_TO_END = {where: (start.offset, RECORDS - 1) for where, start in STARTS.items()}


def test_reading_begins_where_the_listener_says(join):
    source, _ = join(STARTS)
    assert read(source, until=to_the_end(ALL)) == FROM_START_TO_END


def test_partitions_without_a_start_wait_for_begin_and_are_read_then(join):
    source, members = join({})
    assert read(source, until=lambda _: members.held == {*ALL}) == {}
    source.begin(STARTS)
    assert read(source, until=to_the_end(ALL)) == FROM_START_TO_END


def test_a_paused_partition_that_is_begun_anew_is_read(join):
    source, _ = join(STARTS)
    read(source, until=to_the_end(ALL))
    source.pause(ALL)
    source.begin(STARTS)
    assert read(source, until=to_the_end(ALL)) == FROM_START_TO_END


def test_a_partition_that_was_paused_when_it_was_revoked_is_read_when_it_comes_back(join):
    source, members = join(STARTS)
    read(source, until=to_the_end(ALL))
    source.pause(ALL)
    other, others = join(STARTS)
    read(source, other, until=lambda _: len(members.held) == len(others.held) == PARTITIONS // 2)
    gone = {*ALL} - members.held
    other.close()
    seen = read(source, until=to_the_end(gone))
    assert seen == {where: FROM_START_TO_END[where] for where in gone}, "what was kept stays paused"


def test_begin_takes_no_partition_that_is_not_assigned(join):
    source, members = join(STARTS)
    read(source, until=to_the_end(ALL))
    source.begin({TopicPartition("market.crypto.quotes.binance", 0): Start(0, -1)})
    assert members.assignments == 1


@pytest.mark.parametrize(
    ("error", "says", "way_on"),
    [
        (KafkaError._LOG_TRUNCATION, "truncated, or begins behind H", "start again; the start says which"),
        (
            KafkaError.OFFSET_OUT_OF_RANGE,
            "truncated, or begins behind H",
            "start again; the start says which",
        ),
        (KafkaError._AUTO_OFFSET_RESET, "truncated, or begins behind H", "start again; the start says which"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "may not read", "allow READ"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "may not read", "allow READ"),
        (KafkaError._FATAL, "client cannot go on", "KIP-848"),
    ],
)
def test_an_error_that_no_waiting_mends_says_what_it_is_and_the_way_on(error, says, way_on):
    reason = stop_reason("trades-3", KafkaError(error, "as the broker put it"))
    assert reason is not None
    assert reason.startswith(f"trades-3: {KafkaError(error).name()}: as the broker put it. ")
    assert says in reason
    assert way_on in reason.partition("Way on: ")[2]


def test_only_an_error_about_the_log_is_told_as_one():
    for error in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._FATAL,
    ):
        assert "truncated" not in str(stop_reason("group writers", KafkaError(error)))
    fatal = KafkaError(KafkaError.UNSUPPORTED_VERSION, "no such request", fatal=True)
    assert "KIP-848" in str(stop_reason("group writers", fatal))


def test_an_error_that_waiting_mends_is_no_reason_to_stop():
    for error in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError.UNKNOWN_TOPIC_OR_PART):
        assert stop_reason("trades-3", KafkaError(error)) is None
