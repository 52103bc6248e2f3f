"""Puts the gateway together from its settings: which edge answers which part."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog

from seamark.lake.iceberg import IcebergTable
from seamark.lake.states import ObjectStateStore
from seamark.market.schema import RecordKind
from seamark.query_gateway.ahead import Ahead
from seamark.query_gateway.cursor import CursorCodec
from seamark.query_gateway.direct.reader import DirectReader
from seamark.query_gateway.gaps import GapLedger
from seamark.query_gateway.gateway import Gateway
from seamark.query_gateway.instruments import answer_instruments
from seamark.query_gateway.log_fill import LogBudget
from seamark.query_gateway.log_source import KafkaLog
from seamark.query_gateway.opening import Limits, Opening
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import Engine, Latest
from seamark.query_gateway.reading import TableOpener
from seamark.query_gateway.settings import GatewaySettings
from seamark.query_gateway.sources import History
from seamark.query_gateway.symbols import KnownSymbols
from seamark.query_gateway.tails import TailReplicas
from seamark.query_gateway.trino_history import TrinoHistory
from seamark.stream.cluster import KafkaCluster

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Composed:
    """The answering core with what must be started before it and closed after it."""

    gateway: Gateway
    pins: PinCache
    _tails: TailReplicas
    _direct: DirectReader
    _cluster: KafkaCluster
    _ahead: Ahead
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Begin to poll the catalog, and to follow what it brings."""
        self._tasks = [asyncio.create_task(self.pins.run()), asyncio.create_task(self._ahead.run())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._tails.close()
        self._direct.close()
        self._cluster.close()


def build(settings: GatewaySettings, catalog: Catalog) -> Composed:
    """The core over real edges. Opens no connection but what libraries open by themselves."""
    properties = settings.catalog_properties()
    store = ObjectStateStore(settings.state_uri, properties)
    tables = {kind: IcebergTable(catalog, settings.catalog_namespace, kind.value) for kind in RecordKind}
    pins = PinCache(tables, store)
    tails = TailReplicas(
        settings.tail_addresses,
        settings.tail_replication,
        settings.tail_rows,
        settings.most_timeout_seconds,
    )
    cluster = KafkaCluster(settings.kafka_bootstrap)
    log = KafkaLog(settings.kafka_bootstrap, cluster, tables, store)
    opener = TableOpener(pins, tails, log, LogBudget(settings.log_budget_rows))
    direct = DirectReader(settings.cache_bytes, settings.read_threads)
    histories: dict[Engine, History] = {Engine.DIRECT: direct}
    if settings.trino_url:
        address = urlsplit(settings.trino_url)
        assert address.hostname is not None and address.port is not None  # as settings check
        histories[Engine.TRINO] = TrinoHistory(
            address.hostname,
            address.port,
            settings.trino_user,
            settings.trino_catalog,
            settings.catalog_namespace,
            direct,
            settings.most_timeout_seconds,
        )
    key = settings.cursor_key.get_secret_value().encode()
    if not key:
        logger.warning("cursors end with this process: SEAMARK_CURSOR_KEY is not set")
        key = secrets.token_bytes(32)
    limits = Limits(settings.direct_budget_bytes, settings.scan_rows, settings.join_rows)
    opening = Opening(pins, opener, histories, CursorCodec(key), limits)
    symbols = KnownSymbols(lambda call: answer_instruments(opening, (), Latest(), call))
    gateway = Gateway(opening, opener, GapLedger(opening), symbols)
    ahead = Ahead(pins, direct, gateway.learn, settings.ahead_seconds)
    return Composed(gateway, pins, tails, direct, cluster, ahead)
