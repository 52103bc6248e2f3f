"""A log, a table, a writer and a tail in memory, each moved by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import polars as pl
from prometheus_client import CollectorRegistry

from seamark.consumer_writer.adopt import adopt
from seamark.consumer_writer.decide import Fenced, Landed
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.table_writer import TableWriter
from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind, row_schema
from seamark.stream.decode import Decoder
from seamark.stream.encode import Encoder
from seamark.stream.log import TopicPartition
from seamark.stream.wire import FIXED_SCHEMA_IDS
from seamark.tail_cache.ends import LogEnds
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.identity import TopicIdentity
from seamark.tail_cache.partition import View
from seamark.tail_cache.reading import Asked, Reader, cover
from seamark.tail_cache.spill import SpillFolder
from seamark.tail_cache.store import Store
from seamark.tail_cache.tail import Tail
from seamark.telemetry.metrics import TailMetrics
from twins.feed import MemoryFeed
from twins.lake import MemoryStates, MemoryTable
from twins.log import MemoryDeadLetters, MemoryLog

START_US = 1_700_000_000_000_000
RETENTION_SECONDS = 60.0
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
PARTITIONS = 2
MUCH = 1 << 40


@dataclasses.dataclass
class World:
    """Trades. What is sent is in the log at once; everything else happens when it is called."""

    folder: Path
    memory_bytes: int = MUCH
    kind: RecordKind = RecordKind.TRADES
    now_us: int = START_US
    clock_seconds: float = 0.0
    spill: SpillFolder | None = None

    def __post_init__(self) -> None:
        self.log, self.table, self.states = MemoryLog(), MemoryTable(), MemoryStates()
        self.topic = f"market.crypto.{self.kind.value}.binance"
        self.log.create(self.topic, PARTITIONS)
        self.encoder = Encoder(self.kind, FIXED_SCHEMA_IDS[self.kind])
        self.ids = dict.fromkeys(SYMBOLS, 0)
        self.sent: list[tuple[TopicPartition, bytes]] = []
        self.adopt()
        self.start_writer()
        self.start_tail()

    def adopt(self, succeeds: int | None = None, lost: bool = False) -> None:
        routing = routing_for(self.topic, self.kind, self.log.partitions(self.topic), {})
        adopt(self.table, self.states, self.log, self.kind, self.topic, routing, succeeds, lost)

    # The log

    def send(self, symbol: str = "AAA", count: int = 1, partition: int | None = None) -> None:
        """The next trades of a symbol."""
        for _ in range(count):
            self.ids[symbol] += 1
            self.now_us += 1_000
            record = {
                "exchange": "binance",
                "market": "spot",
                "feed": "trade",
                "symbol": symbol,
                "source_sequence": self.ids[symbol],
                "timestamp": self.now_us,
                "ingestion_timestamp": self.now_us + 500,
                "price": self.ids[symbol].to_bytes(8, "big"),
                "quantity": b"\x01",
                "currency": "USDT",
                "side": "BUY",
                "origin": "STREAM",
            }
            where = TopicPartition(
                self.topic, SYMBOLS.index(symbol) % PARTITIONS if partition is None else partition
            )
            self.put(where, self.encoder.encode(record))

    def put(self, where: TopicPartition, value: bytes | None) -> None:
        self.log.append(where, value, self.now_us)
        if value is not None:
            self.sent.append((where, value))

    def repeat(self, back: int = 1) -> None:
        """A record that was sent before, once more."""
        self.put(*self.sent[-min(back, len(self.sent))])

    def poison(self, partition: int = 0) -> None:
        self.put(TopicPartition(self.topic, partition), b"\x00\x00\x00\x00\x01cut")

    def named(self) -> set[str]:
        """Names of the state files that the table's checkpoints name."""
        view = self.table.load()
        return {point.state_name(view.uuid) for point in view.checkpoints.values()}

    # The writer

    def start_writer(self, on_log_start: Literal["stop", "lost"] = "stop") -> None:
        """A new writer; the one before is gone, with what it had not committed."""
        self.writer = TableWriter(
            self.kind,
            self.table,
            self.states,
            self.log,
            Decoder(self.kind),
            MemoryDeadLetters(),
            "writer",
            ExpiryPolicy(),
            on_log_start,
        )
        partitions = range(self.log.partitions(self.topic))
        self.writer.assign([TopicPartition(self.topic, partition) for partition in partitions])

    def commit(self, most: int = 1 << 30) -> None:
        """The writer reads up to `most` records of each partition and commits them."""
        for topic in self.writer.assigned:
            self.writer.observe([self.log.read(topic, self.writer.position(topic), most)])
        batch = self.writer.seal()
        if batch is not None:
            attempt = self.writer.prepare(batch, 0)
            assert not isinstance(attempt, Landed | Fenced), attempt
            self.writer.send(attempt)

    # The tail

    def start_tail(self) -> None:
        """A new tail; the one before is gone."""
        if self.spill is not None:
            self.spill.close()
        self.spill = SpillFolder(self.folder, self.memory_bytes // 8)
        self.store = Store(self.spill, self.memory_bytes)
        self.feed = MemoryFeed(self.log)
        self.registry = CollectorRegistry()
        self.metrics = TailMetrics(self.registry)
        self.tail = Tail(self.feed, self.store, self.metrics, {self.kind: Decoder(self.kind)}, lambda: None)
        self.follower = Follower(
            self.kind,
            self.table,
            self.states,
            self.log,
            "memory",
            lambda topic, partition: True,
            RETENTION_SECONDS,
            self.tail,
            self.store,
            self.metrics,
            lambda: self.clock_seconds,
            lambda: self.now_us,
        )
        self.identity = TopicIdentity(self.log, [self.follower], self.tail, self.store)
        self.ends = LogEnds(self.log, self.tail, self.store, lambda: self.now_us)

    def read(self) -> None:
        """The tail reads what is there, and does its upkeep."""
        self.tail._upkeep_at = 0.0
        self.tail.step(0)

    def follow(self, seconds: float = 1.0) -> None:
        """A second later the tail asks the table, and its thread does what comes of it."""
        self.clock_seconds += seconds
        self.follower.poll()
        self.read()

    def settle(self) -> None:
        """The tail has begun all its partitions and read all that is there."""
        self.follow()
        self.follow()

    def view(self, partition: int = 0, stream_id: int = 1) -> View:
        return self.views[StreamPartition(stream_id, partition)]

    @property
    def views(self) -> dict[StreamPartition, View]:
        return dict(self.store.now.views[self.kind])

    def rows(self) -> pl.DataFrame:
        """All that the tail answers, by partition and offset: text as text."""
        covered = [cover(Asked(where, 0), view) for where, view in self.views.items()]
        return in_order(list(Reader(self.kind, [], Predicate()).batches(covered)), self.kind)

    def committed_rows(self) -> pl.DataFrame:
        """What the table holds, by partition and offset."""
        rows = self.table.rows()
        return in_order(rows.to_batches() if rows is not None else [], self.kind)


def in_order(batches: list, kind: RecordKind) -> pl.DataFrame:
    """Rows by stream, partition and offset, text as text."""
    empty = pl.DataFrame(row_schema(kind).empty_table())
    frames = [pl.DataFrame(batch).with_columns(pl.col(pl.Categorical).cast(pl.String)) for batch in batches]
    joined = pl.concat([empty, *frames]) if frames else empty
    return joined.sort("stream_id", "kafka_partition", "kafka_offset")
