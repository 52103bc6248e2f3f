"""The tail-cache's whole life: settings, parts, wiring, run, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import uvloop
from prometheus_client import CollectorRegistry

from seamark.lake.errors import CatalogUnavailable, LakeError
from seamark.lake.iceberg import IcebergTable, open_catalog
from seamark.lake.states import ObjectStateStore
from seamark.market.schema import RecordKind
from seamark.rpc.server import serve as serve_rpc
from seamark.rpc.v1 import tail_pb2_grpc
from seamark.startup import StartRefused, StoppedAtStart, wait_for
from seamark.stream.cluster import KafkaCluster
from seamark.stream.decode import Decoder
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.replicas import replicas_of
from seamark.tail_cache.arrivals import Arrivals
from seamark.tail_cache.ends import LogEnds
from seamark.tail_cache.feed import Feed
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.identity import TopicIdentity
from seamark.tail_cache.lag import LagExport
from seamark.tail_cache.server import TailService
from seamark.tail_cache.settings import TailSettings
from seamark.tail_cache.spill import SpillFolder
from seamark.tail_cache.store import Store
from seamark.tail_cache.tail import Tail
from seamark.tail_cache.writers import WritersGroup
from seamark.telemetry import logs
from seamark.telemetry.metrics import TailMetrics, serve

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_ENDS_SECONDS = 0.25
"""An answer is said to be at least so old where nothing comes."""
_INDEX_SHARE = 8
"""This part of the memory may be indexes of rows that are on disk."""
_STOP_SECONDS = 2.0
"""What answers under way are given to end, and then the tail's thread, each."""


def main() -> int:
    """Exit codes: 0 done, 1 refused or stopped with a reason, 2 wrong settings."""
    settings = TailSettings.load()
    logs.configure("tail-cache", settings.log_level)
    try:
        uvloop.run(run(settings))
    except StoppedAtStart as stopped:
        logger.info("stopped before it had begun", extra={"reason": str(stopped)})
    except (Stopped, StartRefused, LogUnavailable, LakeError) as error:
        logger.critical("stopped", extra={"reason": str(error)})
        print(f"tail-cache: {error}", file=sys.stderr)  # noqa: T201 - for the operator's eyes
        return 1
    return 0


async def run(settings: TailSettings) -> None:
    """Hold and answer until SIGTERM or SIGINT; then answers under way may end.

    Raises:
        StartRefused, Stopped: with the reason.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    stopped = asyncio.Event()
    threads = Threads(stop, lambda: loop.call_soon_threadsafe(stopped.set))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, threads.stop)
    registry = CollectorRegistry()
    metrics = TailMetrics(registry)
    try:
        serve(registry, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise StartRefused(
            f"SEAMARK_METRICS_PORT was {settings.metrics_port}, which cannot be served on: {error}"
        ) from error
    folder = SpillFolder(settings.spill_folder, settings.memory_bytes // _INDEX_SHARE)
    cluster = KafkaCluster(settings.kafka_bootstrap)
    cluster_id, tables = await asyncio.to_thread(_reach, settings, cluster, stop)
    store = Store(folder, settings.memory_bytes)
    arrivals = Arrivals(loop)
    decoders = {kind: Decoder(kind) for kind in RecordKind}
    tail = Tail(Feed(settings.kafka_bootstrap), store, metrics, decoders, arrivals.notify)
    states = ObjectStateStore(settings.state_uri, settings.catalog_properties())
    retention_seconds = settings.pin_retention_seconds

    def mine(topic: str, partition: int) -> bool:
        return settings.ordinal in replicas_of(topic, partition, settings.replicas, settings.replication)

    followers = [
        Follower(kind, table, states, cluster, cluster_id, mine, retention_seconds, tail, store, metrics)
        for kind, table in tables.items()
    ]
    identity = TopicIdentity(cluster, followers, tail, store)
    ends = LogEnds(cluster, tail, store)
    writers = WritersGroup(settings.kafka_bootstrap, settings.consumer_group, store)
    tail.each_second(LagExport(metrics, store, followers, lambda: writers.processed).export)
    service = TailService(store, arrivals, metrics, settings)
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    add_service = partial(tail_pb2_grpc.add_TailServiceServicer_to_server, service)
    try:
        server = await serve_rpc(address, {"seamark.v1.TailService": add_service})
    except OSError as error:
        raise StartRefused(
            f"SEAMARK_GRPC_PORT was {settings.grpc_port}, which cannot be served on: {error}"
        ) from error
    logger.info("answering", extra={"host": settings.grpc_host, "port": server.port})
    threads.start("tail", lambda: tail.run(stop))
    threads.start("follow", lambda: _every(_POLL_SECONDS, [follower.poll for follower in followers], stop))
    threads.start("watch", lambda: _every(_POLL_SECONDS, [identity.poll, writers.poll], stop))
    threads.start("ends", lambda: _every(_ENDS_SECONDS, [ends.poll], stop))
    while not stopped.is_set():
        if _ready(followers, store):
            metrics.ready.set(1)
            await server.set_ready(True)
            logger.info("ready")
            break
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 0.1)
    await stopped.wait()
    await server.stop(_STOP_SECONDS)
    service.close()
    threads.join("tail", _STOP_SECONDS)
    folder.close()


class Threads:
    """Threads of which one that fails ends all. They are daemons: none is waited for beyond its time."""

    def __init__(self, stop: threading.Event, on_stop: Callable[[], object]) -> None:
        self._stop = stop
        self._on_stop = on_stop
        self._failure: BaseException | None = None
        self._threads: dict[str, threading.Thread] = {}

    def stop(self) -> None:
        self._stop.set()
        self._on_stop()

    def start(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again in `join`
                self._failure = error
            self.stop()

        self._threads[name] = threading.Thread(target=run, name=name, daemon=True)
        self._threads[name].start()

    def join(self, name: str, seconds: float) -> None:
        """Wait for one of them. Raises what any of them has failed with."""
        self._threads[name].join(seconds)
        if self._failure is not None:
            raise self._failure


def _reach(
    settings: TailSettings, cluster: KafkaCluster, stop: threading.Event
) -> tuple[str, dict[RecordKind, IcebergTable]]:
    """Wait for Kafka and the catalog; a missing table is said now."""
    patience_seconds = settings.start_timeout_seconds
    cluster_id = wait_for("Kafka", settings.kafka_bootstrap, cluster.cluster_id, patience_seconds, stop)
    catalog = wait_for(
        "the catalog",
        settings.catalog_uri,
        lambda: open_catalog(
            settings.catalog_name, settings.catalog_properties(), settings.catalog_timeout_seconds
        ),
        patience_seconds,
        stop,
    )
    tables = {kind: IcebergTable(catalog, settings.catalog_namespace, kind.value) for kind in RecordKind}
    for kind, table in tables.items():
        wait_for(f"table {kind.value}", settings.catalog_uri, table.load, patience_seconds, stop)
    return cluster_id, tables


def _every(seconds: float, polls: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    while not stop.is_set():
        began = time.monotonic()
        for poll in polls:
            try:
                poll()
            except (CatalogUnavailable, LogUnavailable) as error:
                logger.warning("waiting", extra={"error": str(error)})
        stop.wait(max(0.0, began + seconds - time.monotonic()))


def _ready(followers: Sequence[Follower], store: Store) -> bool:
    """Past the ends that were seen when reading began, wherever anything can be read."""
    if not all(follower.settled for follower in followers):
        return False
    return all(
        view.ready or view.stopped is not None
        for views in store.now.views.values()
        for view in views.values()
    )
