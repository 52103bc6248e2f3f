"""The life of a leg's process: settings, parts, run, stop."""

from __future__ import annotations

import asyncio
import logging
import signal

import aiohttp
import uvloop
from prometheus_client import REGISTRY

from seamark.ingestor.binance import BinanceSpot
from seamark.ingestor.errors import IngestorError
from seamark.ingestor.leg import Leg
from seamark.ingestor.publisher import Publisher, connect
from seamark.ingestor.settings import LegSettings
from seamark.ingestor.startup import await_kafka, find_destinations, load_tiers, log_ends
from seamark.telemetry import logs, metrics

_log = logging.getLogger(__name__)


def main() -> int:
    """Runs until stopped. Returns 0 then, 1 if Kafka failed, 2 if a setting cannot be right."""
    settings = LegSettings.load()
    logs.configure("ingestor", settings.log_level)
    try:
        uvloop.run(_run(settings))
    except IngestorError as error:
        _log.error("%s", error)
        return error.exit_code
    except OSError as error:  # the port of the metrics
        _log.error("SEAMARK_METRICS_PORT was %d: %s", settings.metrics_port, error)
        return 1
    except asyncio.CancelledError:  # stopped before it had begun
        return 0
    return 0


async def _run(settings: LegSettings) -> None:
    starting = asyncio.current_task()
    assert starting is not None
    loop = asyncio.get_running_loop()
    _on_signals(loop, starting.cancel)

    measured = metrics.IngestorMetrics(REGISTRY)
    metrics.serve(REGISTRY, settings.metrics_host, settings.metrics_port)
    tiers = load_tiers(settings.asset_class, settings.tiers_file)
    admin = await await_kafka(settings.kafka_bootstrap, settings.kafka_wait_seconds)
    destinations = await asyncio.to_thread(
        find_destinations, admin, settings.kafka_bootstrap, settings.asset_class, settings.exchange, tiers
    )
    ends = await asyncio.to_thread(log_ends, admin, destinations)
    client_id = f"seamark-leg-{settings.leg}-{settings.shard}"
    producer = connect(settings.kafka_bootstrap, client_id, settings.linger_ms, settings.unacked_limit)
    publisher = Publisher(producer, destinations, settings.unacked_limit, measured)

    stop = asyncio.Event()
    _on_signals(loop, stop.set)
    async with aiohttp.ClientSession() as http:
        venue = BinanceSpot(settings.venue_ws_url, settings.venue_rest_url, settings.symbols, http)
        leg = Leg(settings.leg, settings.shard, venue, publisher, measured, stop, ends)
        await leg.run(settings.drain_seconds)
    _log.info("stopped, everything received is acknowledged")


def _on_signals(loop: asyncio.AbstractEventLoop, callback: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, callback)  # type: ignore[arg-type]
