"""The tail-cache on real engines, beside the real writer: rows, restarts, and what goes wrong around it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from polars.testing import assert_frame_equal

from corpus.corpora import good_record
from integration.market import Feed, Market, Program, wait_until
from integration.tail import TailProcess, committed_rows
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.states import ObjectStateStore
from seamark.local.engines import start_together
from seamark.local.engines.ports import LOOPBACK
from seamark.market.decimals import to_bytes
from seamark.market.schema import RecordKind
from seamark.sequencing.state import PartitionState, dump
from seamark.stream.encode import Encoder
from seamark.stream.topics import market_topic


@pytest.fixture
def start(market: Market, tmp_path: Path) -> Iterator[Callable[..., TailProcess]]:
    """A tail-cache that serves; it ends with the test."""
    started: list[TailProcess] = []

    def start(**settings: object) -> TailProcess:
        tail = TailProcess(market, tmp_path / f"tail-{len(started)}", **settings)
        started.append(tail)
        tail.await_serving()
        return tail

    yield start
    for tail in started:
        tail.__exit__()


def partition_of(market: Market, feed: Feed, partition: int) -> str:
    return next(symbol for symbol in feed.symbols if market.routing.partition_of(symbol) == partition)


# Rows


def _lists_filled(rows: pl.DataFrame) -> pl.DataFrame:
    """pyiceberg reads a list of records that is null as an empty one."""
    return rows.with_columns(
        pl.col(name).fill_null([]) for name, type_ in rows.schema.items() if isinstance(type_, pl.List)
    )


def test_the_rows_of_the_tail_are_the_rows_that_the_writer_commits_and_go_when_it_has(market, start):
    feed = Feed(market)
    feed.send(2_000, repeats=0.05, swaps=0.05, poison=0.01)
    tail = start()

    def reached(kind: RecordKind) -> int:
        return sum(mark.hi for mark in tail.held(kind).values())

    def holds_one_more(kind: RecordKind) -> bool:
        return reached(kind) > before[kind]

    def committed(kind: RecordKind) -> bool:
        return len(committed_rows(market, kind)) == len(rest[kind])

    others = (RecordKind.QUOTES, RecordKind.REFERENCE_DATA, RecordKind.FEED_EVENTS)
    before = {kind: reached(kind) for kind in others}  # events of other tests are in the same topic
    producer = Producer({"bootstrap.servers": market.kafka.bootstrap, "linger.ms": 0})
    for kind in others:
        producer.produce(market_topic("crypto", kind, market.exchange), good_record(kind.value), partition=0)
    assert producer.flush(20) == 0
    feed.send(2_000, repeats=0.05, swaps=0.05, poison=0.01)
    for kind in others:
        tail.wait(partial(holds_one_more, kind), f"{kind.value} are held")
    rest = {kind: tail.read(kind=kind)[1] for kind in others}
    assert all(len(rows) > 0 for rows in rest.values())
    tail.await_caught_up()
    header, held = tail.read()
    assert {(part.from_offset, part.to_offset) for part in header.ranges} == {
        (0, end) for end in market.ends().values()
    }
    assert len(held) == feed.distinct

    writer = market.start_reading()
    market.drain(writer)
    assert_frame_equal(held, committed_rows(market))
    for kind, rows in rest.items():
        wait_until(partial(committed, kind), f"{kind.value} are committed")
        assert_frame_equal(_lists_filled(rows), _lists_filled(committed_rows(market, kind)))
    tail.wait(
        lambda: all(mark.lo == mark.hi == mark.committed for mark in tail.held().values()),
        "what is committed goes after the retention",
    )

    feed.send(500, repeats=0.05)
    market.drain(writer)
    tail.await_caught_up()
    assert writer.terminate() == 0
    assert tail.metrics("counter_mismatches_total") == {}
    assert tail.metrics("drops_total") == {}
    market.judge(feed.distinct)


def test_a_killed_tail_resumes_at_the_checkpoint_and_knows_what_was_before(market, start):
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(600, repeats=0.05)
    market.drain(writer)
    writer.kill()
    tail = start()
    feed.send(400, repeats=0.2, swaps=0.1)
    tail.await_caught_up()
    _, before = tail.read()
    epoch = tail.watermarks().epoch
    tail.restart()
    tail.await_caught_up()
    assert {where.partition: mark.lo for where, mark in tail.held().items()} == {
        partition: point.next for partition, point in market.checkpoints().items()
    }
    assert tail.watermarks().epoch != epoch
    _, after = tail.read()
    assert_frame_equal(before, after)

    market.drain(market.start_reading())
    committed = committed_rows(market)
    assert_frame_equal(after, committed.join(after, on=["kafka_partition", "kafka_offset"], how="semi"))
    assert len(committed) == feed.distinct


def test_it_is_served_from_the_ends_seen_at_start_wakes_who_waits_and_stops_within_seconds(market, tmp_path):
    feed = Feed(market)
    feed.send(5_000)
    ends = market.ends()
    with TailProcess(market, tmp_path) as tail:
        tail.await_serving()
        assert {where.partition: mark.hi for where, mark in tail.held().items()} == ends
        symbol, where, first = partition_of(market, feed, 0), StreamPartition(1, 0), ends[0]
        seconds: list[float] = []

        def ask(next_: int) -> None:
            _, rows = tail.read({where: (first, next_)})
            assert len(rows) == next_ - first
            seconds.append(time.time() - int(rows["kafka_timestamp"].to_physical()[-1]) / 1e6)

        for number in range(1, 6):
            asking = threading.Thread(target=ask, args=(first + number,))
            asking.start()
            tail.wait(lambda: tail.metrics("reads_under_way") == {(): 1.0}, "the read waits")
            feed.raw(feed.trade(symbol), symbol)
            feed.flush()
            asking.join()
            assert len(seconds) == number
        assert sorted(seconds)[2] < 15, "woken by the row, not by the deadline of 30 s"
        began = time.monotonic()
        assert tail.program.terminate() == 0, tail.program.log()
        assert time.monotonic() - began < 15
        assert "answering" in tail.program.log()
        assert list((tmp_path / "spill").glob("*.arrow")) == []


# What goes wrong


def test_a_damaged_state_is_found_at_the_writers_next_commit_and_restored(market, start):
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(600)
    market.drain(writer)
    view = market.view()
    store = ObjectStateStore(market.settings["state_uri"], market.server.properties())
    for point in market.checkpoints().values():
        forgetful = {f"1.{p}": PartitionState(append_us=point.append_us) for p in market.checkpoints()}
        store.put(point.state_name(view.uuid), dump(forgetful))
    tail = start()
    epoch = tail.watermarks().epoch
    for symbol in feed.symbols:
        for value in feed.recent(symbol):
            feed.raw(value, symbol)  # rows to who has forgotten the first
    feed.flush()
    market.drain(writer)
    tail.wait(lambda: tail.metrics("counter_mismatches_total").get(("trades",), 0) >= 4, "it was found")
    tail.await_caught_up()
    assert tail.watermarks().epoch != epoch
    feed.send(300, repeats=0.1)
    tail.await_caught_up()
    market.drain(writer)
    found = tail.metrics("counter_mismatches_total")[("trades",)]
    _, rows = tail.read()
    committed = committed_rows(market)
    assert_frame_equal(rows, committed.join(rows, on=["kafka_partition", "kafka_offset"], how="semi"))
    tail.wait(
        lambda: all(mark.committed == mark.hi for mark in tail.held().values()), "it has heard of the commit"
    )
    assert tail.metrics("counter_mismatches_total")[("trades",)] == found


def test_while_an_engine_is_down_the_tail_serves_what_it_has_and_then_goes_on(market, start):
    feed = Feed(market)
    tail = start()

    def ends_known() -> float:
        return min(mark.end_as_of_us for mark in tail.held().values()) / 1e6

    feed.send(300)
    market.server.kill()
    try:
        tail.wait(lambda: tail.metrics("catalog_age_seconds")[("trades",)] > 3, "the catalog is missed")
        feed.send(300, repeats=0.05)
        tail.await_caught_up()
        _, before = tail.read()
        assert len(before) == feed.distinct
        tail.wait(lambda: ends_known() > time.time() - 1.0, "nothing comes, and the ends are known")
        market.kafka.kill()
        killed = time.time()
        assert_frame_equal(tail.read()[1], before)
        tail.wait(lambda: time.time() > killed + 3.0, "a while without Kafka")
        assert ends_known() <= killed
    finally:
        start_together([market.kafka, market.server])
    tail.wait(lambda: ends_known() > killed, "the ends are known again")
    feed.reconnect()
    feed.send(300, repeats=0.05)
    tail.await_caught_up()
    assert len(tail.read()[1]) == feed.distinct
    market.drain(market.start_reading())
    tail.wait(lambda: all(mark.lo == mark.hi for mark in tail.held().values()), "it goes on evicting")
    assert tail.metrics("counter_mismatches_total") == {}
    market.judge(feed.distinct)


def test_of_a_recreated_topic_nothing_is_taken_until_it_is_adopted(market, start):
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(300)
    market.drain(writer)
    writer.kill()
    tail = start(pin_retention_seconds=3_600)
    feed.send(200)
    tail.await_caught_up()
    _, before = tail.read()
    market.recreate_topic()
    feed.reconnect()
    feed.send(3_000)
    tail.wait(
        lambda: [v for labels, v in tail.metrics("reading").items() if labels[0] == "trades"] == [0.0] * 4,
        "none of the topic is read",
    )
    _, after = tail.read()
    # What was read in the topic's last second may be given up, what is kept is the old topic's.
    kept = {where.partition: mark.hi for where, mark in tail.held().items()}
    expected = before.filter(
        pl.col("kafka_offset") < pl.col("kafka_partition").replace_strict(kept, return_dtype=pl.Int64)
    )
    assert_frame_equal(after, expected)

    adopted = market.command("adopt", market.topic, "--succeeds", "1", "--lost")
    assert adopted.exit_code == 0, adopted.log()
    tail.await_caught_up(stream_id=2)
    _, rows = tail.read()
    writer = market.start_reading()
    market.drain(writer)
    mine = rows.filter(pl.col("stream_id") == 2)
    committed = committed_rows(market)
    assert_frame_equal(mine, committed.filter(pl.col("stream_id") == 2))
    assert tail.metrics("counter_mismatches_total") == {}


def test_ages_grow_while_no_writer_lives_and_end_with_its_work(market, start):
    feed = Feed(market)
    tail = start()
    writer = market.start_reading()
    feed.send(300)
    market.drain(writer)

    def trades(name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for labels, value in tail.metrics(name).items() if labels[0] == "trades"}

    tail.wait(lambda: set(trades("committed_age_seconds").values()) == {0.0}, "all is committed")
    tail.wait(lambda: set(trades("processed_age_seconds").values()) == {0.0}, "all is processed")
    assert sorted((labels[2], labels[3]) for labels in trades("admitted")) == [
        ("0", "1"),
        ("1", "1"),
        ("2", "2"),
        ("3", "3"),
    ]
    assert set(trades("admitted").values()) == {1.0}
    writer.kill()
    feed.send(300)
    tail.wait(lambda: min(trades("committed_age_seconds").values()) > 2, "committed ages grow")
    tail.wait(lambda: min(trades("processed_age_seconds").values()) > 2, "processed ages grow")
    market.drain(market.start_reading())
    tail.wait(lambda: set(trades("committed_age_seconds").values()) == {0.0}, "all is committed again")
    tail.wait(lambda: set(trades("processed_age_seconds").values()) == {0.0}, "all is processed again")


# Start and end


def test_what_is_missing_at_start_is_said_with_code_1(market, tmp_path):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        wrong: list[tuple[dict[str, object], str]] = [
            ({"catalog_namespace": "nowhere"}, "table nowhere.trades is not in the catalog"),
            (
                {"kafka_bootstrap": f"{LOOPBACK}:1", "start_timeout_seconds": 1},
                f"Kafka at {LOOPBACK}:1 did not answer",
            ),
            ({"grpc_port": port}, f"SEAMARK_GRPC_PORT was {port}"),
        ]
        with ExitStack() as stack:
            for number, (settings, said) in enumerate(wrong):
                tail = stack.enter_context(TailProcess(market, tmp_path / str(number), **settings))
                assert tail.program.wait() == 1
                assert said in reason(tail.program)


def reason(program: Program) -> str:
    """What it says to its operator at the end; Kafka's client may say more of its own."""
    [line] = [line for line in program.log().splitlines() if line.startswith("tail-cache: ")]
    return line


def test_rows_beyond_the_memory_are_on_disk_and_the_same(market, start, tmp_path):
    tail = start(memory_bytes=16 * 2**20)
    encoder = Encoder(RecordKind.TRADES, 1)
    routing = market.routing
    producer = Producer({"bootstrap.servers": market.kafka.bootstrap, "linger.ms": 50})
    symbols = Feed(market).symbols
    count = 150_000
    for number in range(count):
        symbol = symbols[number % len(symbols)]
        value = encoder.encode(
            {
                "exchange": "binance",
                "market": "spot",
                "feed": "trade",
                "symbol": symbol,
                "source_sequence": number,
                "timestamp": 1_700_000_000_000_000 + number,
                "ingestion_timestamp": 1_700_000_000_000_000 + number,
                "price": to_bytes(number + 1),
                "quantity": to_bytes(1),
                "currency": "USDT",
                "side": "BUY",
                "origin": "STREAM",
            }
        )
        producer.produce(market.topic, value, partition=routing.partition_of(symbol))
        producer.poll(0)
    assert producer.flush(60) == 0
    tail.await_caught_up()
    tail.wait(lambda: tail.metrics("spilled_bytes")[("trades",)] > 0, "rows are spilled")
    assert tail.metrics("memory_bytes")[("trades",)] < 20 * 2**20
    _, rows = tail.read(columns=["kafka_partition", "kafka_offset", "stream_id", "source_sequence", "price"])
    assert sorted(rows["source_sequence"].to_list()) == list(range(count))
    _, mine = tail.read(predicate={"symbols": [symbols[0]]})
    assert mine["source_sequence"].to_list() == list(range(0, count, len(symbols)))
