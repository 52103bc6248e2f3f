"""The writer's loop: what a revoke, a full buffer, a fence and a stop do to what is read and in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from seamark.consumer_writer.adopt import adopt
from seamark.consumer_writer.commit_loop import RetryPolicy
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.service import FlushPolicy, Writer
from seamark.consumer_writer.table_writer import TableWriter
from seamark.lake.view import Change, TableView
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder
from seamark.stream.encode import Encoder
from seamark.stream.log import TopicPartition
from seamark.stream.topics import market_topic
from seamark.stream.wire import FIXED_SCHEMA_IDS
from seamark.telemetry.metrics import WriterMetrics
from twins.lake import Answer, MemoryStates, MemoryTable
from twins.log import MemoryDeadLetters, MemoryLog
from twins.source import MemorySource

KINDS = (RecordKind.TRADES, RecordKind.QUOTES)
TRADES, QUOTES = (
    [TopicPartition(market_topic("crypto", kind, "binance"), n) for n in (0, 1)] for kind in KINDS
)
ALL = [*TRADES, *QUOTES]
RETRY = RetryPolicy(first_seconds=0.01, longest_seconds=0.02)
AT_ONCE = FlushPolicy(seconds=1e-6)
NEVER = FlushPolicy(seconds=600.0)
DEADLINE_SECONDS = 20.0


@dataclass(slots=True)
class HeldTable(MemoryTable):
    """A table whose commits can be held on their way to the catalog, as a slow network does."""

    go: threading.Event = field(default_factory=threading.Event)
    sent: int = 0

    def __post_init__(self) -> None:
        self.go.set()

    def commit(self, view: TableView, change: Change) -> None:
        self.sent += 1
        assert self.go.wait(DEADLINE_SECONDS), "the test never let the commit go"
        # By name: a dataclass with slots is not the class that super() was compiled into.
        MemoryTable.commit(self, view, change)


class World:
    """Trades and quotes of two partitions each, and a writer of both. `play` runs the writer."""

    def __init__(self) -> None:
        self.log, self.states = MemoryLog(), MemoryStates()
        self.tables = {kind: HeldTable() for kind in KINDS}
        self.encoders = {kind: Encoder(kind, FIXED_SCHEMA_IDS[kind]) for kind in KINDS}
        self.now_us = 1_700_000_000_000_000
        self.number = 0
        for kind, (first, *_) in zip(KINDS, (TRADES, QUOTES), strict=True):
            self.log.create(first.topic, 2)
            routing = routing_for(first.topic, kind, 2, {})
            adopt(self.tables[kind], self.states, self.log, kind, first.topic, routing)
        for table in self.tables.values():
            table.sent = 0  # the adoption's commit does not count
        self.stop = threading.Event()

    @property
    def trades(self) -> HeldTable:
        return self.tables[RecordKind.TRADES]

    @property
    def quotes(self) -> HeldTable:
        return self.tables[RecordKind.QUOTES]

    def send(self, *partitions: TopicPartition, count: int = 5) -> None:
        for where in partitions:
            kind = RecordKind.TRADES if where in TRADES else RecordKind.QUOTES
            for _ in range(count):
                self.number += 1
                self.now_us += 1_000
                record = {
                    "exchange": "binance",
                    "market": "spot",
                    "feed": "trade",
                    "symbol": f"S{where.partition}",
                    "source_sequence": self.number,
                    "timestamp": self.now_us,
                    "ingestion_timestamp": self.now_us,
                    "currency": "USDT",
                    "origin": "STREAM",
                }
                if kind is RecordKind.TRADES:
                    record |= {"price": b"\x05", "quantity": b"\x05", "side": "BUY"}
                else:
                    record |= dict.fromkeys(
                        ("bid_price", "bid_quantity", "ask_price", "ask_quantity"), b"\x05"
                    )
                    record |= {"timestamp_source": "RECEIVE", "feed": "bookTicker"}
                self.log.append(where, self.encoders[kind].encode(record), self.now_us)

    def writer(self, flush: FlushPolicy, stop_seconds: float = 30.0, revoke_seconds: float = 5.0) -> Writer:
        tables = {
            topic: TableWriter(
                kind,
                self.tables[kind],
                self.states,
                self.log,
                Decoder(kind),
                MemoryDeadLetters(),
                "writer",
                ExpiryPolicy(),
            )
            for kind, (topic, _) in zip(KINDS, (TRADES[0], QUOTES[0]), strict=True)
        }
        metrics = WriterMetrics(CollectorRegistry())
        return Writer(tables, flush, RETRY, metrics, 1_000, stop_seconds, revoke_seconds)

    def play(
        self, story: Callable[[MemorySource], Iterator[None]], flush: FlushPolicy = AT_ONCE, **times: float
    ) -> MemorySource:
        """Run a writer until the story's end, and then to its own."""
        writer = self.writer(flush, **times)
        holder: list[MemorySource] = []
        source = MemorySource(self.log, writer, self._told(story, holder), self.stop)
        holder.append(source)
        writer.run(source, self.stop)
        assert source.closed
        return source

    @staticmethod
    def _told(story: Callable[[MemorySource], Iterator[None]], holder: list[MemorySource]) -> Iterator[None]:
        yield from story(holder[0])

    def drained(self, *partitions: TopicPartition) -> bool:
        return all(self.reached(where) == self.log.bounds(where).end for where in partitions or ALL)

    def reached(self, where: TopicPartition) -> int:
        """H of a partition."""
        table = self.trades if where in TRADES else self.quotes
        points = table.load().checkpoints
        return next(point.next for at, point in points.items() if at.partition == where.partition)

    def exact(self) -> None:
        """Each record of the log is one row."""
        for kind, partitions in zip(KINDS, (TRADES, QUOTES), strict=True):
            rows = self.tables[kind].rows()
            found = [] if rows is None else rows.select(["kafka_partition", "kafka_offset"]).to_pylist()
            sent = [
                {"kafka_partition": where.partition, "kafka_offset": offset}
                for where in partitions
                for offset in range(self.log.bounds(where).end)
            ]
            assert sorted(found, key=lambda row: tuple(row.values())) == sent


@pytest.fixture
def world():
    made = World()
    yield made
    for table in made.tables.values():
        table.go.set()


def until(condition: Callable[[], object]) -> Iterator[None]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        yield


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_what_is_assigned_is_read_and_committed(world):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        yield from until(world.drained)
        world.send(*ALL)
        yield from until(world.drained)

    world.play(story)
    world.exact()


# Revokes


def test_a_revoke_waits_for_the_batch_in_flight_and_keeps_it(world):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        world.trades.go.clear()
        yield from until(lambda: world.trades.sent)
        threading.Timer(0.2, world.trades.go.set).start()
        source.revoke(*TRADES)
        assert world.drained(*TRADES)
        assert world.trades.sent == 1
        yield

    world.play(story)
    assert world.drained(*QUOTES)


def test_a_revoke_drops_all_batches_that_do_not_end_within_one_deadline(world):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        world.trades.go.clear()  # on the one commit thread the quotes wait behind it
        yield from until(lambda: world.trades.sent)
        yield
        took = seconds_of(lambda: source.revoke(*ALL))
        assert 0.5 <= took < 0.9
        assert world.reached(TRADES[0]) == world.reached(QUOTES[0]) == 0
        source.assign(*ALL)
        world.trades.go.set()  # the dropped attempt lands after all: what was read again is fenced
        yield from until(world.drained)

    world.play(story, revoke_seconds=0.5)
    world.exact()


def test_lost_partitions_drop_the_batch_in_flight_at_once(world):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        world.trades.go.clear()
        yield from until(lambda: world.trades.sent)
        assert seconds_of(lambda: source.revoke(*ALL, lost=True)) < 1.0
        world.trades.go.set()
        source.assign(*ALL)
        yield from until(world.drained)

    world.play(story, revoke_seconds=DEADLINE_SECONDS)
    world.exact()


def test_a_revoke_does_not_wait_for_batches_of_other_tables(world):
    def story(source):
        source.assign(*ALL)
        world.trades.go.clear()
        world.send(*TRADES)
        yield from until(lambda: world.trades.sent)
        assert seconds_of(lambda: source.revoke(*QUOTES)) < 1.0
        world.trades.go.set()
        yield from until(lambda: world.drained(*TRADES))
        assert world.trades.sent == 1, "it was not dropped"

    world.play(story, revoke_seconds=DEADLINE_SECONDS)


def test_a_revoke_of_a_part_of_a_batch_drops_it_whole_and_the_rest_is_read_again(world):
    def story(source):
        world.send(*TRADES)
        source.assign(*TRADES)
        world.trades.go.clear()
        yield from until(lambda: world.trades.sent)
        source.revoke(TRADES[0])
        world.trades.go.set()  # and lands after all
        yield from until(lambda: world.drained(*TRADES))
        world.send(TRADES[1])
        yield from until(lambda: world.drained(TRADES[1]))

    world.play(story, revoke_seconds=0.1)
    world.exact()


# The full buffer


def test_reading_pauses_at_twice_the_flush_size_and_goes_on_when_there_is_room(world):
    def story(source):
        source.assign(*ALL)
        world.trades.go.clear()
        while not source.paused:
            world.send(*TRADES)
            yield
        yield  # a poll that already had them
        behind = dict(source._at)
        world.send(*ALL)
        for _ in range(5):
            yield
        assert source.paused == {*TRADES}, "other tables are read on"
        assert {where: source._at[where] for where in TRADES} == {where: behind[where] for where in TRADES}
        world.trades.go.set()
        yield from until(world.drained)
        yield from until(lambda: not source.paused)

    world.play(story, FlushPolicy(seconds=1e-6, bytes=1_000))
    world.exact()


def test_a_partition_that_comes_back_while_the_buffer_is_full_is_paused_again_and_then_read(world):
    def story(source):
        source.assign(*TRADES)
        world.trades.go.clear()
        while source.paused != {*TRADES}:
            world.send(TRADES[0])
            yield
        source.revoke(TRADES[1], lost=True)  # its batch was of both: all is thrown away
        yield
        source.assign(TRADES[1])
        world.send(*TRADES)
        yield
        world.trades.go.set()
        yield from until(lambda: world.drained(*TRADES))
        world.send(*TRADES)
        yield from until(lambda: world.drained(*TRADES))

    world.play(story, FlushPolicy(seconds=1e-6, bytes=1_000))
    world.exact()


# The catalog


def test_an_assignment_while_the_catalog_is_away_waits_and_is_read_then(world):
    def story(source):
        world.send(*ALL)
        world.trades.answer = Answer.UNAVAILABLE  # for one load
        source.assign(*ALL)
        yield from until(world.drained)

    world.play(story)
    world.exact()


def test_behind_another_writers_commit_all_is_read_again(world):
    other = World()
    other.log, other.states, other.tables = world.log, world.states, world.tables

    def ahead(source):
        source.assign(*ALL)
        yield from until(world.drained)

    def story(source):
        source.assign(*ALL)
        yield
        world.send(*ALL)
        yield  # read, not committed
        other.play(ahead)
        world.send(*ALL)
        yield

    world.play(story, NEVER)
    assert world.reached(TRADES[0]) == 5, "the last batch was fenced: only the first five are there"
    world.stop.clear()
    world.play(ahead)
    world.exact()


# The end


def test_a_stop_commits_what_is_buffered(world):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        yield
        yield

    source = world.play(story, NEVER)
    assert world.drained()
    assert source.published == dict.fromkeys(ALL, 5)
    world.exact()


def test_a_stop_whose_time_is_over_begins_no_other_commit(world, caplog):
    def story(source):
        world.send(*ALL)
        source.assign(*ALL)
        world.trades.go.clear()
        yield from until(lambda: world.trades.sent)
        world.send(*ALL)
        yield
        threading.Timer(0.8, world.trades.go.set).start()

    took = seconds_of(lambda: world.play(story, stop_seconds=0.3))
    assert took < 2.0, "it ends with the attempt that was on its way"
    assert world.trades.sent == 1
    assert world.quotes.sent == 0
    assert caplog.messages.count("stopped before the commit ended") == 2
    assert world.reached(TRADES[0]) == 5
    world.stop.clear()

    def rest(source):
        source.assign(*ALL)
        yield from until(world.drained)

    world.play(rest)
    world.exact()


def test_a_stop_with_nothing_read_ends_at_once(world):
    def story(source):
        source.assign(*ALL)
        yield

    assert seconds_of(lambda: world.play(story)) < 1.0
    assert world.trades.sent == world.quotes.sent == 0
