"""A leg between the simulated venue and a real Kafka: what is sent, what is claimed, how it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from seamark.market.routing import Routing, RoutingMode
from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.topics import CONTROL, DEAD_LETTERS, FEED_EVENTS, market_topic, routing_key
from seamark.stream.wire import FIXED_SCHEMA_IDS, FRAME_BYTES, frame_prefix

Process = subprocess.Popen[bytes]

PARTITIONS = 4
TIERS = {"BTCUSDT": 1, "ETHUSDT": 2}


@dataclass
class Programs:
    """The programs a test has started, and where they write."""

    folder: Path
    running: list[Process] = field(default_factory=list)

    def start(self, name, arguments, environment=None):
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=log, stderr=log, env=os.environ | (environment or {})
        )
        log.close()
        self.running.append(process)
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    started = Programs(tmp_path)
    yield started
    for process in started.running:
        process.kill()
        process.wait()


class Venue:
    """A simulator on a port of its own."""

    def __init__(self, programs: Programs, *options: str, port: int = 0) -> None:
        folder = programs.folder
        self.journal = folder / "journal.jsonl"
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        files = ["--port-file", port_file, "--journal", self.journal, "--state", folder / "state.json"]
        self.process = programs.start(
            "simulator", ["seamark.simulator", "--port", str(port), *files, *options]
        )
        deadline = time.monotonic() + 20
        while not port_file.exists():
            assert time.monotonic() < deadline and self.process.poll() is None, programs.log("simulator")
            time.sleep(0.02)
        self.port = int(port_file.read_text())

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/simulator/status", timeout=5) as reply:
            return json.load(reply)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0

    def frames(self):
        """What was sent, in order."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if "seq" in line]


@dataclass(frozen=True)
class Market:
    """Topics nobody else uses, but for those that all share."""

    bootstrap: str
    asset_class: str

    def topic(self, kind: RecordKind) -> str:
        return market_topic(self.asset_class, kind, "binance")

    def publish_routing(self, routing: Routing) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(CONTROL, routing.to_json().encode(), key=routing_key(routing.topic))
        assert producer.flush(20) == 0

    def read(self, topic: str):
        """All messages of a topic, by (partition, offset)."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.partition.eof": True}
        )
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        unread, found = set(partitions), []
        while unread:
            message = consumer.poll(20)
            assert message is not None
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                unread.discard(message.partition())
            else:
                found.append(message)
        consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def records(self, kind: RecordKind):
        """(message, record) of each, decoded by the contract."""
        schema = fastavro.parse_schema(dict(avro_schema(kind)))
        found = []
        for message in self.read(self.topic(kind)):
            value = message.value()
            assert value[:FRAME_BYTES] == frame_prefix(FIXED_SCHEMA_IDS[kind])
            found.append((message, fastavro.schemaless_reader(io.BytesIO(value[FRAME_BYTES:]), schema, None)))
        return found

    def events(self, leg: str):
        """Feed events of one leg, in the order of the log (one key, so one partition)."""
        return [(m, event) for m, event in self.records(RecordKind.FEED_EVENTS) if event["leg"] == leg]


@pytest.fixture
def market(kafka) -> Market:
    made = Market(kafka.bootstrap, f"test{uuid4().hex[:8]}")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    there = admin.list_topics(timeout=20).topics
    shared = {FEED_EVENTS: 2, DEAD_LETTERS: 1, CONTROL: 1}
    wanted = {name: count for name, count in shared.items() if name not in there}
    own = [RecordKind.TRADES, RecordKind.QUOTES, RecordKind.REFERENCE_DATA]
    wanted |= {made.topic(kind): PARTITIONS for kind in own}
    config = {"message.timestamp.type": "LogAppendTime"}
    futures = admin.create_topics([NewTopic(name, count, 1, config=config) for name, count in wanted.items()])
    for future in futures.values():
        future.result(20)
    for kind in (RecordKind.TRADES, RecordKind.QUOTES):
        made.publish_routing(Routing(made.topic(kind), RoutingMode.TIERED, PARTITIONS, TIERS))
    made.publish_routing(Routing(made.topic(RecordKind.REFERENCE_DATA), RoutingMode.KEYED, PARTITIONS))
    count = len(there[FEED_EVENTS].partitions) if FEED_EVENTS in there else shared[FEED_EVENTS]
    made.publish_routing(Routing(FEED_EVENTS, RoutingMode.KEYED, count))
    return made


@pytest.fixture
def start_leg(programs: Programs, market: Market, tmp_path: Path) -> Callable[..., tuple[str, Process]]:
    """``start_leg(port, setting=value)`` gives the leg's name and process."""
    tiers = tmp_path / "tiers.json"
    tiers.write_text(json.dumps({"1": ["BTCUSDT"], "2": ["ETHUSDT"]}))

    def start(port: int, **settings: object) -> tuple[str, Process]:
        name = uuid4().hex[:8]
        values = {
            "kafka_bootstrap": market.bootstrap,
            "asset_class": market.asset_class,
            "venue_ws_url": f"ws://127.0.0.1:{port}",
            "venue_rest_url": f"http://127.0.0.1:{port}",
            "tiers_file": tiers,
            "leg": name,
        } | settings
        environment = {f"SEAMARK_{key.upper()}": str(value) for key, value in values.items()}
        return name, programs.start("leg", ["seamark.ingestor"], environment)

    return start


def stopped(process) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


def journalled(frame):
    """What of a journalled frame must be in the record, as text."""
    if frame["kind"] == "trade":
        side = "SELL" if frame["m"] else "BUY"
        return frame["id"], plain(frame["price"]), plain(frame["qty"]), frame["T"], side
    return frame["u"], *(plain(frame[name]) for name in "bBaA")


def recorded(kind, record):
    """The same of a record."""
    if kind is RecordKind.TRADES:
        return (
            record["source_sequence"],
            plain(f"{record['price']:f}"),
            plain(f"{record['quantity']:f}"),
            microseconds(record["timestamp"]),
            record["side"],
        )
    names = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
    return record["source_sequence"], *(plain(f"{record[name]:f}") for name in names)


def plain(text):
    return text.rstrip("0").rstrip(".") if "." in text else text


def microseconds(instant):
    return round(instant.timestamp() * 1_000_000)


def by_symbol(market, kind):
    """symbol -> [(message, record)], in the order of the log."""
    found: dict[str, list[Any]] = {}
    for message, record in market.records(kind):
        assert message.key() == record["symbol"].encode()
        found.setdefault(record["symbol"], []).append((message, record))
    for each in found.values():
        assert len({message.partition() for message, _ in each}) == 1
    return found


KINDS = {RecordKind.TRADES: "trade", RecordKind.QUOTES: "bookTicker"}


def klines_of(frames, connection, count):
    """How many of the first frames of a connection are klines: they are no rows of trades or quotes."""
    return sum(f["kind"] == "kline" for f in frames if f["conn"] == connection and f["seq"] <= count)


def letters(market, leg):
    return [
        m
        for m in market.read(DEAD_LETTERS)
        if dict(m.headers()).get("session_id", b"").startswith(leg.encode())
    ]


def test_everything_the_venue_sent_is_in_kafka_as_sent_and_claimed_only_then(
    market, programs, start_leg, wait_until
):
    venue = Venue(programs, "--rate-per-second", "600", "--malformed-interval-seconds", "0.7")
    leg, process = start_leg(venue.port)
    wait_until(lambda: venue.status()["frames_sent"] > 3_000, "3,000 frames are sent")
    wait_until(lambda: any(e["kind"] == "PROGRESS" for _, e in market.events(leg)), "progress is claimed")
    venue.stop()  # closes the connection behind the last frame
    wait_until(
        lambda: any(e["kind"] == "SESSION_CLOSED" for _, e in market.events(leg)), "the session is closed"
    )
    assert stopped(process) == 0, programs.log("leg")

    frames = venue.frames()
    offsets = {}  # (symbol, kind, how many of these before) -> where the log has it
    for kind, name in KINDS.items():
        rows = by_symbol(market, kind)
        for symbol in TIERS:
            sent = [journalled(f) for f in frames if f["symbol"] == symbol and f["kind"] == name]
            assert sent
            assert [recorded(kind, record) for _, record in rows[symbol]] == sent
            for number, (message, _) in enumerate(rows[symbol]):
                offsets[symbol, name, number] = (message.topic(), message.partition(), message.offset())
    refused = [f["text"].encode() for f in frames if f["kind"] == "malformed"]
    assert len(refused) >= 2
    assert [message.value() for message in letters(market, leg)] == refused

    events = [event for _, event in market.events(leg)]
    assert [e["kind"] for e in events if e["kind"] != "PROGRESS"] == ["SESSION_OPENED", "SESSION_CLOSED"]
    assert events[-1]["cause"] == "VENUE_CLOSED"
    assert json.loads(events[-1]["detail"])["frames"] == len(frames)
    topic_ids = described_ids(market)
    claims = [event for event in events if event["kind"] == "PROGRESS"]
    assert len(claims) >= 2
    for claim in claims:
        venue_us = microseconds(claim["venue_timestamp"])
        acked = {(topic_ids[a["topic_id"]], a["partition"]): a["next_offset"] for a in claim["acked"]}
        counts: dict[tuple[str, str], int] = {}
        for frame in frames:
            if frame["kind"] == "trade" and frame["T"] >= venue_us:
                break  # what came before the claimed time was reached must be in the log
            key = frame["symbol"], frame["kind"]
            number = counts[key] = counts.get(key, -1) + 1
            if frame["kind"] in KINDS.values():
                topic, partition, offset = offsets[*key, number]
                assert offset < acked[topic, partition]


def described_ids(market):
    """Kafka's id of each topic -> its name."""
    names = [market.topic(kind) for kind in RecordKind]
    admin = AdminClient({"bootstrap.servers": market.bootstrap})  # its futures end with it
    futures = admin.describe_topics(TopicCollection(names))
    return {str(futures[name].result(20).topic_id): name for name in names}


def test_a_stop_in_full_flow_leaves_nothing_unacknowledged(market, programs, start_leg, wait_until):
    venue = Venue(programs, "--rate-per-second", "1000", "--malformed-interval-seconds", "0")
    leg, process = start_leg(venue.port)
    wait_until(lambda: venue.status()["frames_sent"] > 2_000, "2,000 frames are sent")
    assert stopped(process) == 0, programs.log("leg")
    venue.stop()

    events = [event for _, event in market.events(leg)]
    assert [event["kind"] for event in events[-2:]] == ["PROGRESS", "SESSION_CLOSED"]
    assert events[-1]["cause"] == "STOPPED"
    frames, total = venue.frames(), 0
    ends: dict[tuple[str, int], int] = {}
    for kind, name in KINDS.items():
        for symbol, rows in by_symbol(market, kind).items():
            sent = [journalled(f) for f in frames if f["symbol"] == symbol and f["kind"] == name]
            assert [recorded(kind, record) for _, record in rows] == sent[: len(rows)]
            total += len(rows)
            last = rows[-1][0]
            where = last.topic(), last.partition()
            ends[where] = max(ends.get(where, 0), last.offset() + 1)
    received = json.loads(events[-1]["detail"])["frames"]
    assert total == received - klines_of(frames, 1, received)
    topic_ids = described_ids(market)
    claimed = {(topic_ids[a["topic_id"]], a["partition"]): a["next_offset"] for a in events[-2]["acked"]}
    # Partitions that got nothing are claimed from where they began.
    assert {where: offset for where, offset in claimed.items() if offset} == ends


def test_closed_klines_name_the_very_trades_of_their_minutes(market, programs, start_leg, wait_until):
    """Minutes pass in a second and a half. Repeats and swaps are no trades more or less."""
    began_us = time.time_ns() // 1_000
    venue = Venue(programs, "--speed", "40", "--rate-per-second", "20", "--repeat", "0.1", "--swap", "0.1")
    legs = [start_leg(venue.port, shard=0) for _ in range(2)]

    def closed_frames():
        return [f for f in venue.frames() if f["kind"] == "kline" and f["x"]]

    wait_until(lambda: len(closed_frames()) >= 16, "a few minutes are closed")
    venue.stop()
    for leg, _ in legs:
        wait_until(
            lambda leg=leg: any(e["kind"] == "SESSION_CLOSED" for _, e in market.events(leg)), "it is over"
        )
    for _, process in legs:
        assert stopped(process) == 0, programs.log("leg")

    told: dict[str, dict[str, Any]] = {}
    for message, event in market.records(RecordKind.FEED_EVENTS):
        if event["kind"] == "INTERVAL_CLOSED" and microseconds(event["timestamp"]) >= began_us:
            assert message.key() == f"binance:{event['symbol']}".encode()
            same = told.setdefault(event["event_id"], event)
            assert same | {"timestamp": 0} == event | {"timestamp": 0}  # whichever leg says it
    sent = {(f["symbol"], f["t"]): f for f in closed_frames()}
    by_minute: dict[tuple[str, int], set[int]] = {}
    for symbol, rows in by_symbol(market, RecordKind.TRADES).items():
        for _, trade in rows:
            minute_us = microseconds(trade["timestamp"]) // 60_000_000 * 60_000_000
            by_minute.setdefault((symbol, minute_us), set()).add(trade["source_sequence"])
    assert len(told) == len(sent) >= 8
    for event in told.values():
        start_us = microseconds(event["venue_timestamp"]) - 60_000_000
        frame, detail = sent[event["symbol"], start_us], json.loads(event["detail"])
        assert detail == {"start_us": start_us, "trades": frame["n"]}
        ids = by_minute.get((event["symbol"], start_us), set())
        if frame["n"]:
            assert (event["first_sequence"], event["last_sequence"]) == (frame["f"], frame["L"])
            assert ids == set(range(frame["f"], frame["L"] + 1))
        else:
            assert event["first_sequence"] is event["last_sequence"] is None
            assert not ids


def test_instruments_are_published_at_start(market, programs, start_leg, wait_until):
    venue = Venue(programs)
    _, process = start_leg(venue.port)
    wait_until(lambda: len(market.read(market.topic(RecordKind.REFERENCE_DATA))) == 2, "both are there")
    assert stopped(process) == 0
    found = {record["symbol"]: record for _, record in market.records(RecordKind.REFERENCE_DATA)}
    assert found["BTCUSDT"]["base_currency"] == "BTC"
    assert found["ETHUSDT"]["currency"] == "USDT"
    assert all(record["status"] == "TRADING" and record["tick_size"] > 0 for record in found.values())


def test_a_lost_venue_is_found_again_and_each_connection_is_a_session(
    market, programs, start_leg, wait_until
):
    venue = Venue(programs, "--rate-per-second", "300")
    leg, process = start_leg(venue.port)
    wait_until(lambda: venue.status()["frames_sent"] > 100, "frames are sent")
    venue.process.kill()
    venue.process.wait()
    again = Venue(programs, "--rate-per-second", "300", port=venue.port)
    wait_until(lambda: again.status()["frames_sent"] > 100, "frames are sent again")
    assert stopped(process) == 0, programs.log("leg")
    events = [event for _, event in market.events(leg) if event["kind"] != "PROGRESS"]
    assert [event["kind"] for event in events] == ["SESSION_OPENED", "SESSION_CLOSED"] * 2
    assert [event["cause"] for event in events[1::2]] == ["CONNECTION_LOST", "STOPPED"]
    assert len({event["session_id"] for event in events}) == 2


def test_an_idle_venue_is_claimed_up_to_its_own_clock(market, programs, start_leg, wait_until):
    venue = Venue(programs, "--rate-per-second", "0.1")
    began_us = time.time_ns() // 1_000
    leg, process = start_leg(venue.port)

    def claimed():
        times = [microseconds(e["venue_timestamp"]) for _, e in market.events(leg) if e["kind"] == "PROGRESS"]
        return len(times) >= 3 and times == sorted(times) and times[-1] > began_us

    wait_until(claimed, "progress goes on without trades")
    assert stopped(process) == 0


def test_a_kafka_that_does_not_answer_costs_the_connection_not_the_memory(
    kafka, market, programs, start_leg, wait_until
):
    venue = Venue(programs, "--rate-per-second", "1000", "--malformed-interval-seconds", "0")
    leg, process = start_leg(venue.port, unacked_limit=500)
    wait_until(lambda: venue.status()["frames_sent"] > 500, "frames are sent")
    kafka.process.pause()
    try:
        wait_until(lambda: venue.status()["connections"] == 0, "the leg closes its connection")
    finally:
        kafka.process.resume()
    wait_until(lambda: venue.status()["connections"] == 1, "the leg connects again")
    wait_until(lambda: len({e["session_id"] for _, e in market.events(leg)}) > 1, "a second session")
    assert stopped(process) == 0, programs.log("leg")
    events = [event for _, event in market.events(leg)]
    closed = next(event for event in events if event["kind"] == "SESSION_CLOSED")
    assert closed["cause"] == "BACKPRESSURE"
    rows = market.records(RecordKind.TRADES) + market.records(RecordKind.QUOTES)
    detail = [json.loads(event["detail"])["frames"] for event in events if event["kind"] == "SESSION_CLOSED"]
    lost = sum(event["cause"] == "BACKPRESSURE" for event in events if event["kind"] == "SESSION_CLOSED")
    venue.stop()
    frames = venue.frames()
    klines = sum(klines_of(frames, number, count) for number, count in enumerate(detail, start=1))
    assert len(rows) == sum(detail) - lost - klines  # only the frame that found no room is missing


def test_a_leg_does_not_start_without_kafka(programs, start_leg):
    _, process = start_leg(1, kafka_bootstrap="127.0.0.1:1", kafka_wait_seconds=1)
    assert process.wait(30) == 1
    assert "Kafka at 127.0.0.1:1 (SEAMARK_KAFKA_BOOTSTRAP) did not answer within 1 s" in programs.log("leg")


def test_a_leg_does_not_start_on_another_routing(market, programs, start_leg):
    other = Routing(market.topic(RecordKind.TRADES), RoutingMode.TIERED, PARTITIONS, {"BTCUSDT": 2})
    market.publish_routing(other)
    _, process = start_leg(1)
    assert process.wait(30) == 2
    assert f"routing of {other.topic} was" in programs.log("leg")


def test_a_leg_does_not_start_without_its_topics(programs, start_leg):
    _, process = start_leg(1, asset_class="absent")
    assert process.wait(30) == 2
    assert "topic market.absent.trades.binance is not there" in programs.log("leg")


def test_a_symbol_that_the_venue_does_not_know_is_named(programs, start_leg):
    venue = Venue(programs)
    _, process = start_leg(venue.port, symbols="BTCUSDT,NOSUCH")
    assert process.wait(30) == 2
    assert "SEAMARK_SYMBOLS was 'BTCUSDT,NOSUCH', must be symbols that" in programs.log("leg")


def test_an_absent_venue_is_waited_for_and_a_stop_ends_the_wait(programs, start_leg, wait_until):
    _, process = start_leg(1)
    wait_until(lambda: "the venue does not state its instruments" in programs.log("leg"), "it says so")
    assert stopped(process) == 0, programs.log("leg")
