"""The consumer-writer's commands: run, init, adopt."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from pyiceberg.catalog import Catalog

from seamark.consumer_writer.adopt import Adopted, adopt, adopt_at_snapshot
from seamark.consumer_writer.commit_loop import RetryPolicy
from seamark.consumer_writer.dead_letters import KafkaDeadLetters
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.kafka import KafkaSource
from seamark.consumer_writer.service import FlushPolicy, Writer
from seamark.consumer_writer.settings import WriterSettings
from seamark.consumer_writer.state_cleanup import StateCleanup
from seamark.consumer_writer.table_writer import TableWriter
from seamark.consumer_writer.topics import (
    check_topics,
    create_topics,
    make_room_for_letters,
    market_topics,
    publish_routing,
    published_routings,
)
from seamark.lake.assignment import check_topic
from seamark.lake.errors import LakeError, TableMissing
from seamark.lake.iceberg import IcebergTable, open_catalog
from seamark.lake.states import ObjectStateStore
from seamark.lake.tables import create_table
from seamark.market.routing import Routing, bundled_tiers, routing_for
from seamark.market.schema import RecordKind
from seamark.startup import StartRefused, StoppedAtStart, wait_for
from seamark.stream.cluster import KafkaCluster
from seamark.stream.decode import Decoder
from seamark.stream.errors import LogUnavailable, Stopped, TopicNameInvalid
from seamark.stream.topics import parse_market_topic
from seamark.telemetry import logs
from seamark.telemetry.metrics import WriterMetrics, serve

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 refused or stopped with a reason, 2 wrong settings or arguments."""
    parsed = _parser().parse_args(arguments)
    settings = WriterSettings.load()
    logs.configure("consumer-writer", settings.log_level)
    try:
        if parsed.command == "run":
            run(settings)
        elif parsed.command == "init":
            init(settings)
        else:
            adopt_command(settings, parsed)
    except StoppedAtStart as stopped:
        logger.info("stopped before it had begun", extra={"reason": str(stopped)})
    except (Stopped, StartRefused, LogUnavailable, LakeError, KafkaException) as error:
        logger.critical("stopped", extra={"reason": str(error)})
        print(f"consumer-writer {parsed.command}: {error}", file=sys.stderr)  # noqa: T201 - for the operator's eyes
        return 1
    return 0


def run(settings: WriterSettings) -> None:
    """Write until SIGTERM or SIGINT, then commit what is buffered and leave."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    registry = CollectorRegistry()
    metrics = WriterMetrics(registry)
    try:
        serve(registry, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise StartRefused(
            f"SEAMARK_METRICS_PORT was {settings.metrics_port}, which cannot be served on: {error}"
        ) from error
    cluster = KafkaCluster(settings.kafka_bootstrap)
    wait_for("Kafka", settings.kafka_bootstrap, cluster.cluster_id, settings.start_timeout_seconds, stop)
    catalog = wait_for(
        "the catalog", settings.catalog_uri, lambda: _catalog(settings), settings.start_timeout_seconds, stop
    )
    store = ObjectStateStore(settings.state_uri, settings.catalog_properties())
    kinds = market_topics(settings.asset_class, settings.exchange)
    writer_id = uuid.uuid4().hex
    expiry = ExpiryPolicy(settings.target_snapshots, min_age_seconds=settings.snapshot_min_age_seconds)
    lakes = {
        topic: IcebergTable(catalog, settings.catalog_namespace, kind.value) for topic, kind in kinds.items()
    }
    tables = {
        topic: TableWriter(
            kind,
            lakes[topic],
            store,
            cluster,
            Decoder(kind),
            KafkaDeadLetters(settings.kafka_bootstrap, stop),
            writer_id,
            expiry,
            settings.on_log_start,
        )
        for topic, kind in kinds.items()
    }
    for topic, lake in lakes.items():
        # Said now: of a missing table no partition could be taken, of a missing topic none would ever come.
        try:
            stream = lake.load().stream_of(topic)
        except TableMissing as missing:
            raise StartRefused(f"{missing}. Way on: init makes it") from missing
        if stream is not None:
            check_topic(cluster, stream)
    writer = Writer(
        tables,
        FlushPolicy(settings.flush_seconds, settings.flush_bytes),
        RetryPolicy(),
        metrics,
        settings.poll_records,
        settings.stop_timeout_seconds,
    )
    cleanups = [StateCleanup(lake, store, settings.state_retention_seconds) for lake in lakes.values()]
    threading.Thread(
        target=sweep,
        args=(cleanups, max(5.0, settings.state_retention_seconds / 12), stop),
        name="state-cleanup",
        daemon=True,
    ).start()
    source = KafkaSource(settings.kafka_bootstrap, settings.consumer_group, list(tables), writer, {})
    logger.info("running", extra={"writer_id": writer_id, "topics": list(tables)})
    writer.run(source, stop)


def init(settings: WriterSettings) -> None:
    """Make topics, tables, routing and first streams. Safe to repeat: what is there stays."""
    stop = threading.Event()
    cluster = KafkaCluster(settings.kafka_bootstrap)
    wait_for("Kafka", settings.kafka_bootstrap, cluster.cluster_id, settings.start_timeout_seconds, stop)
    catalog = wait_for(
        "the catalog", settings.catalog_uri, lambda: _catalog(settings), settings.start_timeout_seconds, stop
    )
    store = ObjectStateStore(settings.state_uri, settings.catalog_properties())
    kinds = market_topics(settings.asset_class, settings.exchange)
    made = create_topics(settings.kafka_bootstrap, kinds, settings.partitions, settings.replication_factor)
    logger.info("topics", extra={"made": made})
    wait_for(
        "the settings of topics",
        settings.kafka_bootstrap,
        lambda: check_topics(settings.kafka_bootstrap, kinds, settings.replication_factor),
        settings.start_timeout_seconds,
        stop,
    )
    wait_for(
        "room for dead letters",
        settings.kafka_bootstrap,
        lambda: make_room_for_letters(settings.kafka_bootstrap, kinds),
        settings.start_timeout_seconds,
        stop,
    )
    current: dict[str, Routing] = {}
    for topic, kind in kinds.items():
        create_table(catalog, settings.catalog_namespace, kind, settings.partitioning)
        table = IcebergTable(catalog, settings.catalog_namespace, kind.value)
        # A new topic has no leader yet, or not everywhere, for a moment after it was made.
        adopted = wait_for(
            f"topic {topic}",
            settings.kafka_bootstrap,
            partial(_first_stream, settings, table, store, cluster, kind, topic),
            settings.start_timeout_seconds,
            stop,
        )
        stream = adopted.stream if adopted is not None else table.load().stream_of(topic)
        if stream is None:
            raise Stopped(f"table {kind.value} has streams, none of them for {topic}. Way on: adopt {topic}")
        current[topic] = Routing.from_json(stream.routing)
    published = wait_for(
        "the published routing",
        settings.kafka_bootstrap,
        lambda: published_routings(settings.kafka_bootstrap),
        settings.start_timeout_seconds,
        stop,
    )
    missing = [routing for topic, routing in current.items() if published.get(topic) != routing]
    publish_routing(settings.kafka_bootstrap, missing)
    logger.info("initialised", extra={"routings_published": [routing.topic for routing in missing]})


def adopt_command(settings: WriterSettings, parsed: argparse.Namespace) -> None:
    """Adopt a topic as a new stream, or the head of a table that was rolled back or changed by others."""
    kind = parse_market_topic(parsed.topic).kind
    cluster = KafkaCluster(settings.kafka_bootstrap)
    table = IcebergTable(_catalog(settings), settings.catalog_namespace, kind.value)
    if parsed.at_snapshot is not None:
        revision = adopt_at_snapshot(table, parsed.at_snapshot)
        logger.info("adopted", extra={"snapshot": parsed.at_snapshot, "revision": revision})
        return
    store = ObjectStateStore(settings.state_uri, settings.catalog_properties())
    routing = _new_routing(settings, cluster, parsed.topic, kind)
    adopted = adopt(table, store, cluster, kind, parsed.topic, routing, parsed.succeeds, parsed.lost)
    publish_routing(settings.kafka_bootstrap, [routing])
    logger.info("adopted", extra={"stream": adopted.stream.stream_id if adopted else None})


def _first_stream(
    settings: WriterSettings,
    table: IcebergTable,
    store: ObjectStateStore,
    cluster: KafkaCluster,
    kind: RecordKind,
    topic: str,
) -> Adopted | None:
    routing = _new_routing(settings, cluster, topic, kind)
    return adopt(table, store, cluster, kind, topic, routing, only_if_empty=True)


def _new_routing(settings: WriterSettings, cluster: KafkaCluster, topic: str, kind: RecordKind) -> Routing:
    return routing_for(topic, kind, cluster.partitions(topic), bundled_tiers(settings.asset_class))


def _catalog(settings: WriterSettings) -> Catalog:
    return open_catalog(
        settings.catalog_name, settings.catalog_properties(), settings.catalog_timeout_seconds
    )


def sweep(cleanups: Sequence[StateCleanup], interval_seconds: float, stop: threading.Event) -> None:
    """Sweep once an interval until `stop` is set. No error of the lake ends it."""
    while not stop.wait(interval_seconds):
        for cleanup in cleanups:
            try:
                cleanup.sweep(time.monotonic())
            except LakeError as error:
                logger.warning("state files not swept", extra={"error": f"{type(error).__name__}: {error}"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="seamark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="write Kafka's records to Iceberg, exactly once")
    commands.add_parser("init", help="make topics, tables, routing and first streams")
    take = commands.add_parser("adopt", help="register a topic's new life, or take a table's head as it is")
    take.add_argument("topic", type=_market_topic, help="its name: market.crypto.trades.binance")
    take.add_argument(
        "--succeeds", type=int, metavar="STREAM", help="the stream that ends with this one's start"
    )
    take.add_argument("--lost", action="store_true", help="record what the old stream still held as lost")
    take.add_argument("--at-snapshot", type=int, metavar="ID", help="take this head, foreign rows too")
    return parser


def _market_topic(text: str) -> str:
    try:
        parse_market_topic(text)
    except TopicNameInvalid as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
