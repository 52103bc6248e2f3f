"""The writer and its topics: members come and go, logs end, begin or break, engines are away."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from integration.market import Feed, Market, Program, Spares, open_market, wait_until
from seamark.lake.checkpoint import StreamPartition, excluded_from_text
from seamark.lake.iceberg import IcebergTable
from seamark.lake.states import ObjectStateStore, rebuild
from seamark.local.engines import CatalogServer, KafkaNode
from seamark.local.engines.ports import LOOPBACK
from seamark.market.decimals import to_bytes
from seamark.market.schema import RecordKind
from seamark.sequencing.state import PartitionState, dump, load
from seamark.stream.cluster import KafkaCluster
from seamark.stream.wire import FRAME_BYTES, frame_prefix


def refused(program: Program) -> str:
    """What a program said that must have ended with 1."""
    assert program.wait() == 1, program.log()
    return program.log()


def stopped(market: Market, feed: Feed, count: int = 300) -> None:
    """Rows in the table, and no writer any more."""
    writer = market.start_reading()
    feed.send(count, repeats=0.02, swaps=0.02)
    market.drain(writer)
    assert writer.terminate() == 0, writer.log()


def symbol_of(market: Market, feed: Feed, partition: int) -> str:
    return next(symbol for symbol in feed.symbols if market.routing.partition_of(symbol) == partition)


# Members


def test_partitions_move_between_writers_that_join_leave_and_die(
    kafka: KafkaNode, catalog_server: CatalogServer, spares: Spares
) -> None:
    with open_market(kafka, catalog_server, spares, partitions=8) as market:
        feed = Feed(market)

        def held(*writers: Program) -> list[int]:
            feed.send(20)  # they are not idle while partitions move
            return [len(market.held_by(writer)) for writer in writers]

        first = market.start_reading()
        feed.send(400, repeats=0.02)
        others = [market.start(), market.start()]
        wait_until(
            lambda: sum(counts := held(first, *others)) == 8 and max(counts) <= 6,
            lambda: f"the partitions are spread: {held(first, *others)}",
        )
        market.drain(first, *others)
        assert first.terminate() == 0, first.log()
        wait_until(lambda: sum(held(*others)) == 8, "the others hold all")
        market.drain(*others)
        others[0].kill()
        wait_until(lambda: sum(held(others[1])) == 8, "the last one holds all")
        market.drain(others[1])
        market.judge(feed.distinct)


def test_a_writer_told_to_stop_commits_what_it_has_buffered(market: Market) -> None:
    writer = market.start_reading(flush_seconds=600)
    feed = Feed(market)
    feed.send(300, repeats=0.02)
    wait_until(lambda: market.published_positions() == market.ends(), "all of it is buffered")
    assert all(point.next == 0 for point in market.checkpoints().values())
    assert writer.terminate() == 0, writer.log()
    assert market.drained()
    market.judge(feed.distinct)


# Logs that are not what they were


def test_a_recreated_topic_stops_the_writer_until_it_is_adopted(market: Market) -> None:
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(300)
    market.drain(writer)
    market.recreate_topic()
    said = refused(writer)
    assert "the topic was re-created" in said
    assert f"adopt {market.topic} --succeeds 1" in said
    assert f"adopt {market.topic} --succeeds 1" in refused(market.start())

    assert "Way on: --lost to record" in refused(market.start("adopt", market.topic, "--succeeds", "1"))
    assert "is stream 1 already" in refused(market.start("adopt", market.topic))
    adopted = market.command("adopt", market.topic, "--succeeds", "1", "--lost")
    assert adopted.exit_code == 0, adopted.log()

    feed.reconnect()
    for symbol in feed.symbols:  # what the producers send again is known, over the change of topics
        for value in feed.recent(symbol):
            feed.raw(value, symbol)
    feed.send(200, repeats=0.02)
    market.drain(market.start_reading())
    figures = market.judge(feed.distinct)
    assert figures.duplicates >= 300


def test_a_deleted_topic_is_named_at_start_and_made_anew_before_it_is_adopted(market: Market) -> None:
    feed = Feed(market)
    stopped(market, feed)
    admin = AdminClient({"bootstrap.servers": market.kafka.bootstrap})
    admin.delete_topics([market.topic])[market.topic].result(20)
    wait_until(lambda: KafkaCluster(market.kafka.bootstrap).topic_id(market.topic) is None, "it is gone")
    said = refused(market.start())
    assert "the topic was deleted" in said
    assert f"Way on: init makes it anew, then adopt {market.topic} --succeeds 1 --lost" in said
    for arguments in (("init",), ("adopt", market.topic, "--succeeds", "1", "--lost")):
        done = market.command(*arguments)
        assert done.exit_code == 0, done.log()
    feed.reconnect()
    feed.send(200, repeats=0.02)
    market.drain(market.start_reading())
    market.judge(feed.distinct)


def test_a_log_that_begins_behind_the_checkpoint_stops_the_writer_or_is_recorded_as_lost(
    market: Market,
) -> None:
    feed = Feed(market)
    stopped(market, feed)
    reached = market.checkpoints()[0].next
    feed.send(400)
    begins = reached + 25
    market.delete_records(0, begins)
    said = refused(market.start())
    assert f"H was {reached}, the log begins at {begins}" in said
    assert "on_log_start=lost" in said

    market.drain(market.start_reading(on_log_start="lost"))
    view = market.view()
    assert [
        (gone.where, gone.first, gone.next, gone.cause) for gone in excluded_from_text(view.excluded_text)
    ] == [(StreamPartition(1, 0), reached, begins, "LOST")]
    point = market.checkpoints()[0]
    assert point.counters.lost == 25
    assert point.counters.total == point.next - view.streams[1].start[0]
    assert market.judge().in_iceberg == feed.distinct - 25


def test_a_log_whose_beginning_passes_a_writer_that_reads_it_stops_the_writer(market: Market) -> None:
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(300)
    market.drain(writer)
    writer.pause()
    try:
        # The broker still holds the paused writer's last fetch (fetch.wait.max.ms is 100) and would
        # answer it with what comes now: nobody tells us when it has given up.
        time.sleep(1.0)
        feed.send(300)
        end = market.ends()[1]
        market.delete_records(1, end)
    finally:
        writer.resume()
    said = refused(writer)
    assert f"{market.topic}-1" in said
    assert "log begins at" in refused(market.start())
    market.drain(market.start_reading(on_log_start="lost"))
    lost = market.checkpoints()[1].counters.lost
    assert lost > 0
    assert market.judge().in_iceberg == feed.distinct - lost


def test_a_log_that_lost_its_end_stops_the_writer_and_is_adopted_as_a_new_stream(
    market: Market, kafka: KafkaNode
) -> None:
    feed = Feed(market)
    stopped(market, feed)
    closed = market.checkpoints()
    reached = closed[0].next
    kafka.kill()
    try:
        for kept in (kafka.directory / "data" / f"{market.topic}-0").iterdir():
            if kept.name != "partition.metadata":
                kept.unlink()
    finally:
        kafka.start()
    said = refused(market.start())
    assert f"H was {reached}, the log ends at 0" in said
    assert f"adopt {market.topic} --succeeds 1" in said
    adopted = market.command("adopt", market.topic, "--succeeds", "1", "--lost")
    assert adopted.exit_code == 0, adopted.log()
    feed.reconnect()
    for value in feed.recent(symbol_of(market, feed, 0)):
        feed.raw(value, symbol_of(market, feed, 0))
    feed.send(200, repeats=0.02)
    market.drain(market.start_reading())
    # Of stream 1 the oracle can prove nothing, of stream 2 all: that no row of the two is there twice too.
    figures = market.judge(feed.distinct)
    assert figures.unproven == sum(point.next for point in closed.values())
    rows = market.table().scan().to_arrow().select(["symbol", "id_epoch", "source_sequence"])
    assert rows.num_rows == feed.distinct == len({tuple(row.values()) for row in rows.to_pylist()})
    assert market.checkpoints()[0].counters.duplicate >= 40


def test_a_log_truncated_and_grown_past_the_checkpoint_stops_the_writer_until_it_is_adopted(
    market: Market, kafka: KafkaNode
) -> None:
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(200)
    symbol = symbol_of(market, feed, 0)
    (segment,) = (kafka.directory / "data" / f"{market.topic}-0").glob("*.log")
    kept, kept_bytes = market.ends()[0], segment.stat().st_size
    feed.send(400)
    market.drain(writer)
    closed = market.checkpoints()
    reached = closed[0].next
    assert kept < reached
    kafka.kill()
    try:
        with segment.open("r+b") as file:
            file.truncate(kept_bytes)
    finally:
        kafka.start()
    feed.reconnect()
    for _ in range(2 * (reached - kept)):
        feed.raw(feed.trade(symbol), symbol)
    feed.flush()
    assert market.ends()[0] == kept + 2 * (reached - kept)
    feed.send(100)

    said = refused(writer)  # it stood at H while the leader changed
    assert f"{market.topic}-0" in said and "start again; the start says which" in said
    said = refused(market.start())  # H is in the log, below it are other records
    assert f"{market.topic}-0: H was {reached}, the record below it has leader epoch" in said
    assert f"the log was truncated. Way on: adopt {market.topic} --succeeds 1" in said
    assert market.checkpoints() == closed
    adopted = market.command("adopt", market.topic, "--succeeds", "1")
    assert adopted.exit_code == 0, adopted.log()
    market.drain(market.start_reading())
    # All of the log is read once more: that what was cut off is still in the table, and what came
    # in its place as well, is one row for each trade that was sent.
    figures = market.judge(feed.distinct)
    assert figures.unproven == sum(point.next for point in closed.values())
    rows = market.table().scan().to_arrow().select(["symbol", "id_epoch", "source_sequence"])
    assert rows.num_rows == feed.distinct == len({tuple(row.values()) for row in rows.to_pylist()})
    assert market.checkpoints()[0].counters.duplicate == kept


# Records that are not what they should be


def test_poison_at_each_place_of_a_batch_goes_to_the_dead_letters_and_the_rest_is_kept(
    market: Market,
) -> None:
    writer = market.start_reading(flush_seconds=0.5)
    feed = Feed(market)
    symbol = symbol_of(market, feed, 0)
    partition = 0
    good = feed.trade
    bad: list[tuple[int, bytes | None]] = []

    def batch(*values: bytes | None, poison: tuple[int, ...]) -> None:
        end = market.ends()[partition]
        for place, value in enumerate(values):
            if place in poison:
                bad.append((end + place, value))
            feed.raw(value, symbol)
        feed.flush()
        market.drain(writer)

    cut = good_bytes(feed, symbol)[:-4]
    batch(cut, good(symbol), good(symbol), poison=(0,))
    batch(good(symbol), cut, good(symbol), poison=(1,))
    batch(good(symbol), good(symbol), cut, poison=(2,))
    batch(cut, poison=(0,))
    batch(cut, b"", None, b"{}", poison=(0, 1, 2, 3))
    batch(
        good(symbol),
        b"\x01" + good_bytes(feed, symbol)[1:],
        frame_prefix(2) + good_bytes(feed, symbol)[FRAME_BYTES:],
        good_bytes(feed, symbol) + b"\x00",
        too_large(feed, symbol),
        good(symbol),
        poison=(1, 2, 3, 4),
    )
    assert writer.exit_code is None
    letters = {int(letter["offset"]): letter for letter in market.dead_letters()}
    assert sorted(letters) == [offset for offset, _ in bad]
    for offset, value in bad:
        letter = letters[offset]
        assert letter["origin"] == "LOG"
        assert (letter["topic"], letter["stream"], letter["partition"]) == (market.topic, "1", "0")
        assert letter["key"] == symbol.encode()
        assert letter["value"] == value
        assert letter["error"]
        framed = value is not None and value[:1] == b"\x00" and len(value) >= FRAME_BYTES
        assert letter.get("schema_id") == (str(value[4]) if value and framed else None)
    assert "price" in letters[bad[-1][0]]["error"]
    figures = market.judge(feed.distinct)
    assert figures.refused == len(bad) == market.checkpoints()[0].counters.dlq


def test_a_refused_record_of_any_size_is_a_dead_letter_and_the_rest_is_kept(market: Market) -> None:
    writer = market.start_reading()
    feed = Feed(market)
    symbol = symbol_of(market, feed, 0)
    noise = random.Random(5).randbytes(1_048_000)
    # As it came; more than the topic takes as the writer packs it; more than the client sends at all.
    values = {"none": noise, "zstd": noise[:900_000] * 2, "lz4": b"{" * 20 * 1024 * 1024}
    at = market.ends()[0]
    for codec, value in values.items():
        feed.send(20)
        producer = Producer(
            {
                "bootstrap.servers": market.kafka.bootstrap,
                "compression.type": codec,
                "message.max.bytes": 64 * 1024 * 1024,
                "log_level": 2,
            }
        )
        producer.produce(market.topic, value, key=symbol.encode(), partition=0)
        assert producer.flush(20) == 0
    feed.send(20)
    market.drain(writer)
    letters = sorted(market.dead_letters(), key=lambda letter: int(letter["offset"]))
    assert [letter["value"] for letter in letters] == [noise, None, None]
    assert all(letter["key"] == symbol.encode() and int(letter["offset"]) >= at for letter in letters)
    for letter, value in zip(letters, values.values(), strict=True):
        whole = letter["value"] is not None
        assert letter.get("value_bytes") == (None if whole else str(len(value)))
        assert letter.get("sha256") == (None if whole else hashlib.sha256(value).hexdigest())
    assert market.judge(feed.distinct).refused == len(values)


def good_bytes(feed: Feed, symbol: str) -> bytes:
    """A trade that is only there to be broken."""
    feed.distinct -= 1
    return feed.trade(symbol)


def too_large(feed: Feed, symbol: str) -> bytes:
    """A trade whose price has 29 digits."""
    return good_bytes(feed, symbol).replace(feed.last_price, len_prefixed(to_bytes(10**28)))


def len_prefixed(data: bytes) -> bytes:
    """Avro's bytes: a zigzag length below 64 is one byte."""
    return bytes([len(data) << 1]) + data


def test_a_schema_id_that_is_not_known_holds_its_partition_and_loses_nothing(market: Market) -> None:
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(200)
    market.drain(writer)
    partition = 1
    held = symbol_of(market, feed, partition)
    at = market.ends()[partition]
    feed.raw(frame_prefix(99) + good_bytes(feed, held)[FRAME_BYTES:], held)
    feed.send(400, repeats=0.02)

    def others_are_drained() -> bool:
        ends = market.ends() | {partition: at}
        return {p: point.next for p, point in market.checkpoints().items()} == ends

    wait_until(others_are_drained, lambda: f"{market.checkpoints()} of {market.ends()}:\n{writer.log()}")
    paused = writer.said("partition paused: schema id cannot be resolved by this build")
    assert [(line["offset"], line["schema_id"]) for line in paused] == [(at, 99)]
    waiting = market.ends()[partition] - at
    market.judge(waiting=waiting)

    assert writer.terminate() == 0, writer.log()
    writer = market.start_reading()  # a build that knows no more than the last
    feed.send(100)
    wait_until(others_are_drained, lambda: f"{market.checkpoints()} of {market.ends()}")
    market.judge(waiting=market.ends()[partition] - at)
    assert writer.terminate() == 0

    # All that stood behind it is still there, for whoever gets past it.
    market.delete_records(partition, at + 1)
    market.drain(market.start_reading(on_log_start="lost"))
    market.judge(feed.distinct)


# States


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_state_file_that_cannot_be_read_is_made_again_from_history(market: Market, damage) -> None:
    feed = Feed(market)
    stopped(market, feed)
    view = market.view()
    store = ObjectStateStore(market.settings["state_uri"], market.server.properties())
    names = {point.state_name(view.uuid) for point in view.checkpoints.values()}
    kept: dict[str, PartitionState] = {}
    for name in names:
        kept |= load(store.get(name))
    wanted = {str(where): where for where in view.checkpoints}
    table = IcebergTable(market.catalog, market.namespace, "trades")
    rebuilt = rebuild(table, view, RecordKind.TRADES, list(wanted.values()))
    for key, where in wanted.items():
        assert dump({key: rebuilt[where]}) == dump({key: kept[key]})
    for name in names:
        data = store.get(name)
        store.delete(name)
        if damage == "cut short":
            store.put(name, data[:-5])

    writer = market.start_reading()
    assert len(writer.said("state rebuilt from history")) >= len(wanted)
    duplicates = sum(point.counters.duplicate for point in market.checkpoints().values())
    repeated = 0
    for symbol in feed.symbols:
        for value in feed.recent(symbol):
            feed.raw(value, symbol)
            repeated += 1
    feed.send(100)
    market.drain(writer)
    after = sum(point.counters.duplicate for point in market.checkpoints().values())
    assert after == duplicates + repeated
    market.judge(feed.distinct)


# Engines and settings


@pytest.mark.parametrize(("command", "absent"), [("run", "Kafka"), ("run", "catalog"), ("init", "catalog")])
def test_an_engine_that_is_absent_at_start_is_named_after_the_start_timeout(
    market: Market, command, absent
) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind((LOOPBACK, 0))
        address = f"{LOOPBACK}:{taken.getsockname()[1]}"
        setting = {"kafka_bootstrap": address} if absent == "Kafka" else {"catalog_uri": f"http://{address}"}
        if absent == "catalog":
            setting["catalog_oauth2_uri"] = f"http://{address}/v1/oauth/tokens"
        began = time.monotonic()
        said = refused(market.start(command, start_timeout_seconds=2, **setting))
    assert time.monotonic() - began < 2 + 15  # one question to Kafka may take 10 s
    assert f"{absent} at " in said and address in said and "did not answer within 2 s" in said
    assert "Traceback" not in said


def test_a_stop_while_an_engine_is_waited_for_ends_with_0(market: Market) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        writer = market.start(kafka_bootstrap=f"{LOOPBACK}:{taken.getsockname()[1]}")
        writer.await_said("waiting")
        assert writer.terminate() == 0, writer.log()


def test_a_table_that_was_never_made_names_init(market: Market) -> None:
    assert "Way on: init" in refused(market.start(catalog_namespace="nowhere"))


def test_an_engine_that_comes_late_is_waited_for(market: Market, catalog_server: CatalogServer) -> None:
    catalog_server.kill()
    try:
        writer = market.start(start_timeout_seconds=60)
        writer.await_said("waiting")
    finally:
        catalog_server.start()
    feed = Feed(market)
    feed.send(100)
    market.drain(writer)
    market.judge(feed.distinct)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("SEAMARK_FLUSH_SECONDS", "0", "SEAMARK_FLUSH_SECONDS was '0', must be more than 0"),
        ("SEAMARK_STATE_URI", "/states", "SEAMARK_STATE_URI was '/states', must be s3://"),
        ("SEAMARK_KAFKA_BOOTSTRAP", "", "SEAMARK_KAFKA_BOOTSTRAP is not set"),
        ("SEAMARK_ASSET_CLASS", "tulips", "must be one of crypto"),
    ],
)
def test_a_wrong_setting_ends_the_program_with_2_and_what_is_allowed(
    market: Market, setting, value, said
) -> None:
    environment = {f"SEAMARK_{name.upper()}": str(given) for name, given in market.settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "seamark.consumer_writer", "init"],
        env=os.environ | environment | {setting: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adopt", "trades"), "topic was 'trades', must be"),
        (("adopt", "market.crypto.trades.nowhere"), "market.crypto.trades.nowhere"),
        (("adopt",), "topic"),
        (("write",), "invalid choice"),
    ],
)
def test_a_wrong_argument_is_named_without_a_traceback(market: Market, arguments, said) -> None:
    program = market.command(*arguments)
    assert program.exit_code in (1, 2), program.log()
    assert said in program.log()
    assert "Traceback" not in program.log()


def test_a_metrics_port_in_use_is_named(market: Market) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(market.start(metrics_port=port))
    assert f"SEAMARK_METRICS_PORT was {port}, which cannot be served on" in said


def test_a_stop_does_not_wait_for_a_kafka_that_is_gone_with_letters_pending(
    market: Market, kafka: KafkaNode
) -> None:
    feed = Feed(market)
    writer = market.start_reading(flush_seconds=600, stop_timeout_seconds=2)
    feed.send(200, repeats=0.02, poison=0.05)
    writer.await_said("record refused", feed.poisoned)
    kafka.kill()
    try:
        began = time.monotonic()
        assert writer.terminate() == 0, writer.log()
        # To leave the group is tried for 5 s, and one question about a topic's id may take 10.
        assert time.monotonic() - began < 2 + 5 + 10 + 5, writer.log()
    finally:
        kafka.start()
    market.drain(market.start_reading())
    assert market.judge(feed.distinct).refused == feed.poisoned


def whole_lines(program: Program) -> list[str]:
    """All lines of a log but one that is still being written."""
    return program.log().rpartition("\n")[0].splitlines()


def test_kafka_that_is_gone_for_a_while_delays_and_loses_nothing(market: Market, kafka: KafkaNode) -> None:
    feed = Feed(market)
    writer = market.start_reading()
    feed.send(200, repeats=0.02, poison=0.02)
    kafka.kill()
    try:
        # What the client itself has to say is a line of the log as any other.
        wait_until(
            lambda: any(
                "Connection refused" in line["message"] for line in map(json.loads, whole_lines(writer))
            ),
            lambda: f"the writer has noticed:\n{writer.log()}",
        )
    finally:
        kafka.start()
    feed.send(200, repeats=0.02, poison=0.02)
    market.drain(writer)
    figures = market.judge(feed.distinct)
    assert figures.refused == feed.poisoned
