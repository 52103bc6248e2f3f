"""A market of its own for a test: its topics, its tables, and real writers between them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from integration import maintenance
from integration.fault_proxy import FaultProxy
from seamark.consumer_writer.main import init
from seamark.consumer_writer.settings import WriterSettings
from seamark.lake.checkpoint import Checkpoint
from seamark.lake.iceberg import IcebergTable
from seamark.lake.view import TableView
from seamark.local.engines import CatalogServer, KafkaNode, TrinoServer, dies_with_parent
from seamark.market.decimals import to_bytes
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder
from seamark.stream.topics import DEAD_LETTERS, market_topic
from seamark_oracle import TableFigures, judge

DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_KAFKA_SECONDS = 20.0
_TOPIC_CONFIG = {"message.timestamp.type": "LogAppendTime", "unclean.leader.election.enable": "false"}
_ENTRY = """
import importlib, json, os, sys
main = importlib.import_module(sys.argv[1] + ".main").main
job = sys.stdin.readline()
if job:
    job = json.loads(job)
    os.environ.update(job["environment"])
    sys.argv[1:] = job["arguments"]
    sys.exit(main())
"""
WRITER = "seamark.consumer_writer"


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Return when `condition` is true; fail the test with `what` at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            pytest.fail(f"after {deadline_seconds:g} s still not true: {said}")
        time.sleep(_POLL_SECONDS)


class Spares:
    """Starts processes of our services ahead of need: their imports take most of their start.

    A process waits with everything imported until it is told its arguments and settings; from
    there on it is the program as installed. Of services that were not asked for none waits.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._waiting = {WRITER: self._spawn(WRITER)}

    def take(
        self, arguments: Sequence[str], settings: Mapping[str, object], service: str = WRITER
    ) -> Program:
        """A process of the package `service`, with settings by their names in lower case."""
        program = self._waiting.get(service) or self._spawn(service)
        self._waiting[service] = self._spawn(service)
        environment = {f"SEAMARK_{name.upper()}": str(value) for name, value in settings.items()}
        job = json.dumps({"arguments": [*arguments], "environment": environment})
        assert program.process.stdin is not None
        with program.process.stdin as pipe:
            pipe.write(job.encode() + b"\n")
        return program

    def close(self) -> None:
        for program in self._waiting.values():
            program.kill()

    def _spawn(self, service: str) -> Program:
        self._count += 1
        log = self._folder / f"{service}-{self._count}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", dies_with_parent.__file__, str(os.getpid())),
                    *(sys.executable, "-c", _ENTRY, service),
                ],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
            )
        return Program(process, log)


@dataclass(frozen=True, slots=True)
class Program:
    """A process of one of our services and what it says."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Its exit code, as `subprocess` has it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {seconds:g} s:\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        self.process.wait()

    def kill_soon(self) -> None:
        """SIGKILL; does not wait, for use from another thread."""
        os.kill(self.process.pid, signal.SIGKILL)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def said(self, message: str) -> list[dict[str, Any]]:
        """Log lines with this message."""
        lines = [line for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in map(json.loads, lines) if line["message"] == message]

    def await_said(self, message: str, count: int = 1) -> None:
        """Wait for its `count`th such line; fails at once if it ends before."""
        wait_until(
            lambda: len(self.said(message)) >= count or self.exit_code is not None,
            lambda: f"{count} lines {message!r} in:\n{self.log()}",
        )
        assert len(self.said(message)) >= count, self.log()


class Market:
    """Topics, tables and writers of one test. Made by `open_market`."""

    def __init__(
        self,
        kafka: KafkaNode,
        server: CatalogServer,
        spares: Spares,
        proxy: FaultProxy | None,
        **settings: Any,
    ) -> None:
        self.kafka, self.server, self.spares, self.proxy = kafka, server, spares, proxy
        self.namespace = f"test_{uuid4().hex[:8]}"
        self.exchange = f"x{uuid4().hex[:8]}"
        self.topic = market_topic("crypto", RecordKind.TRADES, self.exchange)
        self.programs: list[Program] = []
        direct = server.properties()
        given = proxy.properties if proxy is not None else direct
        self.settings: dict[str, Any] = {
            "kafka_bootstrap": kafka.bootstrap,
            "catalog_uri": given["uri"],
            "catalog_warehouse": given["warehouse"],
            "catalog_credential": given["credential"],
            "catalog_oauth2_uri": given["oauth2-server-uri"],
            "catalog_namespace": self.namespace,
            "s3_endpoint": given["s3.endpoint"],
            "s3_region": given["s3.region"],
            "s3_access_key_id": given["s3.access-key-id"],
            "s3_secret_access_key": given["s3.secret-access-key"],
            "state_uri": f"{server.state_uri}/{self.namespace}",
            "exchange": self.exchange,
            "consumer_group": self.namespace,
            "flush_seconds": 0.3,
            "start_timeout_seconds": 20,
            "stop_timeout_seconds": 15,
            "partitions": 4,
        } | settings
        self.catalog = load_catalog("direct", **direct)
        self._lake = IcebergTable(self.catalog, self.namespace, "trades")
        self._asker = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test", "log_level": 2})

    # Writers

    def init(self) -> None:
        """As `consumer-writer init` does."""
        init(WriterSettings(**self.settings))

    def start(self, *arguments: str, **settings: Any) -> Program:
        """A consumer-writer process; `run` unless told otherwise."""
        program = self.spares.take(arguments or ("run",), self.settings | settings)
        self.programs.append(program)
        return program

    def start_reading(self, **settings: Any) -> Program:
        """A writer that has been given all partitions of the trades topic."""
        program = self.start(**settings)
        wait_until(
            lambda: (
                program.exit_code is not None or len(self.held_by(program)) == self.settings["partitions"]
            ),
            lambda: f"a writer holds all partitions:\n{program.log()}",
        )
        assert program.exit_code is None, program.log()
        return program

    def held_by(self, program: Program, topic: str | None = None) -> set[str]:
        """Partitions that a writer has been given and not lost, by its log; of the trades topic or another."""
        held: set[str] = set()
        for line in program.log().splitlines():
            if '"partitions": ' not in line or not line.endswith("}"):
                continue
            event = json.loads(line)
            mine = {name for name in event["partitions"] if name.startswith(f"{topic or self.topic}-")}
            held = held | mine if event["message"] == "assigned" else held - mine
        return held

    def command(self, *arguments: str, **settings: Any) -> Program:
        """A consumer-writer command, run to its end."""
        program = self.start(*arguments, **settings)
        program.wait()
        return program

    def close(self) -> None:
        for program in self.programs:
            program.kill()
        self._asker.close()

    # The log

    @property
    def routing(self) -> Routing:
        return Routing.from_json(self.view().stream_of(self.topic).routing)

    def ends(self) -> dict[int, int]:
        """End offset of each partition of the trades topic."""
        partitions = self._asker.list_topics(self.topic, timeout=_KAFKA_SECONDS).topics[self.topic].partitions
        return {
            partition: self._asker.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=_KAFKA_SECONDS
            )[1]
            for partition in sorted(partitions)
        }

    def recreate_topic(self) -> None:
        """Delete the trades topic and make it anew: the same name, another id, nothing in it."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        before = self._topic_id(admin)
        admin.delete_topics([self.topic])[self.topic].result(_KAFKA_SECONDS)
        new = NewTopic(self.topic, self.settings["partitions"], 1, config=_TOPIC_CONFIG)

        def made() -> bool:
            try:
                admin.create_topics([new])[self.topic].result(_KAFKA_SECONDS)
            except KafkaException:
                return False  # the old one is not gone everywhere yet
            return True

        wait_until(made, f"{self.topic} is made anew", _KAFKA_SECONDS)
        wait_until(lambda: self._topic_id(admin) not in (before, None), "it has another id", _KAFKA_SECONDS)
        wait_until(self._leads, "it has leaders", _KAFKA_SECONDS)

    def add_partitions(self, count: int) -> None:
        """To the trades topic; writers that start from now on count on them."""
        self.settings["partitions"] += count
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        wanted = NewPartitions(self.topic, self.settings["partitions"])
        admin.create_partitions([wanted])[self.topic].result(_KAFKA_SECONDS)

        def all_lead() -> bool:
            try:
                return len(self.ends()) == self.settings["partitions"]
            except KafkaException:
                return False

        wait_until(all_lead, "the new partitions have leaders", _KAFKA_SECONDS)

    def _topic_id(self, admin: AdminClient) -> str | None:
        try:
            asked = admin.describe_topics(TopicCollection([self.topic]))[self.topic]
            return str(asked.result(_KAFKA_SECONDS).topic_id)
        except KafkaException:
            return None

    def _leads(self) -> bool:
        try:
            return set(self.ends().values()) == {0}
        except KafkaException:
            return False

    def delete_records(self, partition: int, below_offset: int) -> None:
        """Let the log of a trades partition begin at an offset, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        where = TopicPartition(self.topic, partition, below_offset)
        for done in admin.delete_records([where]).values():
            assert done.result(_KAFKA_SECONDS).low_watermark == below_offset

    def published_positions(self) -> dict[int, int]:
        """What the writers' group says of the trades topic, by partition."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        group = self.settings["consumer_group"]
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        places = asked.result(_KAFKA_SECONDS).topic_partitions
        return {place.partition: place.offset for place in places if place.topic == self.topic}

    def dead_letters(self) -> list[dict[str, Any]]:
        """Headers, key and value of the dead letters from this market's trades."""
        end = self._asker.get_watermark_offsets(TopicPartition(DEAD_LETTERS, 0), timeout=_KAFKA_SECONDS)[1]
        self._asker.assign([TopicPartition(DEAD_LETTERS, 0, 0)])
        found: list[dict[str, Any]] = []
        read: int = 0
        while read < end:
            for message in self._asker.consume(min(1000, end - read), timeout=_KAFKA_SECONDS):
                read = int(message.offset() or 0) + 1
                headers: dict[str, Any] = {n: v.decode() for n, v in dict(message.headers() or []).items()}
                if headers.get("topic") == self.topic:
                    found.append(headers | {"key": message.key(), "value": message.value()})
        self._asker.unassign()
        return found

    # The table

    def view(self) -> TableView:
        return self._lake.load()

    def table(self) -> Table:
        return self.catalog.load_table((self.namespace, "trades"))

    def head(self) -> int:
        """Id of the current snapshot."""
        head_id = self.view().head_id
        assert head_id is not None, "the table has no snapshot"
        return head_id

    def checkpoints(self) -> dict[int, Checkpoint]:
        """By partition of the open stream."""
        view = self.view()
        stream_id = view.stream_of(self.topic).stream_id
        return {
            where.partition: point
            for where, point in view.checkpoints.items()
            if where.stream_id == stream_id
        }

    def drained(self) -> bool:
        """Whether the table has all records of the log."""
        return {partition: point.next for partition, point in self.checkpoints().items()} == self.ends()

    def drain(self, *alive: Program) -> None:
        """Wait for `drained`; fails at once if one of the writers `alive` ends meanwhile."""

        def state() -> str:
            logs = "\n".join(program.log()[-3000:] for program in alive)
            return f"table at {self.checkpoints()}, log at {self.ends()}; {logs}"

        wait_until(
            lambda: self.drained() or any(program.exit_code is not None for program in alive),
            state,
        )
        for program in alive:
            assert program.exit_code is None, program.log()

    def judge(self, distinct: int | None = None, waiting: int = 0) -> TableFigures:
        """Fails unless the trades table is exactly what the log says, and all of it.

        `distinct`: how many different trades were sent; so many rows there must be. `waiting`:
        how many records the writer may have left in the log.
        """
        verdict = judge(self.kafka.bootstrap, self.server.properties(), self.namespace, tables=["trades"])
        assert verdict.exact, verdict.to_text()
        figures = verdict.figures("trades")
        assert figures.waiting == waiting, verdict.to_text()
        if distinct is not None:
            assert figures.in_iceberg == distinct, verdict.to_text()
        return figures

    def rewrite(self, most_files: int = 1_000_000) -> int:
        """`maintenance.rewrite` of the trades."""
        return maintenance.rewrite(self.table(), most_files)

    def optimize(self, trino: TrinoServer) -> int:
        """`maintenance.optimize` of the trades."""
        return maintenance.optimize(self.table(), trino)

    def expire(self, files: bool = False) -> int:
        """All snapshots of the trades but the head and what lies between it and the writer's last; how many."""
        view, table = self.view(), self.table()
        stay = {*view.path_to_own(view.head_id), table.metadata.current_snapshot_id}
        old = {snapshot.snapshot_id for snapshot in table.snapshots()} - stay
        maintenance.expire(table, old, files)
        return len(old)


@contextmanager
def open_market(
    kafka: KafkaNode, server: CatalogServer, spares: Spares, proxy: FaultProxy | None = None, **settings: Any
) -> Iterator[Market]:
    """A market with its topics, tables and streams made; its writers end with it."""
    market = Market(kafka, server, spares, proxy, **settings)
    try:
        market.init()
        yield market
    finally:
        market.close()


STEP_US = 100
"""Between two trades of a feed, by the venue's time."""


def _symbols(routing: Routing) -> tuple[str, ...]:
    """Two symbols for each partition: nothing that is routed stays empty."""
    found: dict[int, list[str]] = {partition: [] for partition in range(routing.partitions)}
    for symbol in (*routing.tiers, *(f"RARE{number}USDT" for number in range(1000))):
        place = found[routing.partition_of(symbol)]
        if len(place) < 2:
            place.append(symbol)
    return tuple(symbol for symbols in found.values() for symbol in symbols)


class Feed:
    """Sends trades as legs do: keyed and routed by symbol, ids in order, some of them amiss."""

    def __init__(self, market: Market, seed: int = 1) -> None:
        self._topic, self._routing = market.topic, market.routing
        self._random = random.Random(seed)
        self._encoder = Encoder(RecordKind.TRADES, 1)
        self._producer_settings = {
            "bootstrap.servers": market.kafka.bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "log_level": 2,
        }
        self._producer = Producer(self._producer_settings)
        self.symbols = _symbols(self._routing)
        self._ids = dict.fromkeys(self.symbols, 0)
        self._recent: dict[str, list[bytes]] = {symbol: [] for symbol in self.symbols}
        self.time_us = time.time_ns() // 1000
        """The venue's time of the newest trade; it runs by trades sent, not by the clock."""
        self.distinct = 0
        """Different good trades sent."""
        self.last_price = b""
        """The price of the last trade as it stands in its bytes, with Avro's length in front."""
        self.poisoned = 0
        """Records sent that no reader can decode."""

    def send(self, count: int, repeats: float = 0.0, swaps: float = 0.0, poison: float = 0.0) -> None:
        """Send `count` new trades, with these shares of repeats, swapped pairs and poison beside them.

        Returns when all are acknowledged.
        """
        chance = self._random.random
        while count > 0:
            symbol = self._random.choice(self.symbols)
            values = [self.trade(symbol)]
            if chance() < swaps:
                values.insert(0, self.trade(symbol))
            if chance() < repeats and self._recent[symbol]:
                values.append(self._random.choice(self._recent[symbol]))
            if chance() < poison:
                values.append(values[0][:-4])
                self.poisoned += 1
            for value in values:
                self.raw(value, symbol)
            count -= 1
            self._recent[symbol] = [*self._recent[symbol][-50:], values[0]]
        self.flush()

    def trade(self, symbol: str) -> bytes:
        """The next trade of a symbol, framed; sent by whoever asked for it."""
        self._ids[symbol] += 1
        self.time_us += STEP_US
        self.distinct += 1
        price = to_bytes(self._random.randrange(10**15, 10**16))
        self.last_price = bytes([len(price) << 1]) + price
        return self._encoder.encode(
            {
                "exchange": "binance",
                "market": "spot",
                "feed": "trade",
                "symbol": symbol,
                "source_sequence": self._ids[symbol],
                "timestamp": self.time_us,
                "ingestion_timestamp": self.time_us + 500,
                "price": price,
                "quantity": to_bytes(self._random.randrange(1, 10**14)),
                "currency": "USDT",
                "side": self._random.choice(["BUY", "SELL"]),
                "origin": "STREAM",
            }
        )

    def recent(self, symbol: str) -> list[bytes]:
        """Trades of a symbol that were sent before, the last fifty or so."""
        return list(self._recent[symbol])

    def raw(self, value: bytes | None, symbol: str) -> None:
        """Hand one record to the producer, at the symbol's place; `flush` makes sure of it."""
        partition = self._routing.partition_of(symbol)
        self._producer.produce(self._topic, value, key=symbol.encode(), partition=partition)
        self._producer.poll(0)

    def route(self, routing: Routing) -> None:
        """Send by another routing, as legs do that were started anew."""
        self._routing = routing
        self.reconnect()

    def reconnect(self) -> None:
        """Forget what the producer knows of the topic, which is another one now."""
        self._producer = Producer(self._producer_settings)

    def flush(self) -> None:
        assert self._producer.flush(_KAFKA_SECONDS * 3) == 0, "Kafka did not acknowledge all records"
