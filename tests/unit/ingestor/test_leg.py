"""A leg on a producer in memory: what ends it, and what it states by itself."""

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from seamark.ingestor import leg as leg_module
from seamark.ingestor.errors import SettingRefused, VenueUnavailable
from seamark.ingestor.leg import Leg
from seamark.ingestor.publisher import Destination, Publisher
from seamark.ingestor.venue import Instrument
from seamark.market.routing import Routing, RoutingMode
from seamark.market.schema import RecordKind
from seamark.telemetry.metrics import IngestorMetrics
from unit.ingestor.memory_producer import MemoryProducer

BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", 10**8, 10**5, 10**15, "{}")


class Venue:
    """What it states of its instruments, call by call, and where it sends legs to."""

    exchange, market = "binance", "spot"

    def __init__(self, *statements: object, port: int = 9) -> None:
        """`port`: the discard port unless somebody listens."""
        self._statements = iter(statements)
        self._port = port

    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/stream"

    async def instruments(self):
        said = next(self._statements, None)
        if isinstance(said, Exception):
            raise said
        if said is None:
            await asyncio.Event().wait()
        return said

    async def time_us(self) -> int:
        return 10**15

    def frame_reader(self, instruments):
        return object()


def leg_of(venue: Venue, producer: MemoryProducer, stop: asyncio.Event | None = None) -> Leg:
    kinds = (RecordKind.TRADES, RecordKind.REFERENCE_DATA, RecordKind.FEED_EVENTS)
    destinations = {
        kind: Destination(kind.value, "id", Routing(kind.value, RoutingMode.KEYED, 1)) for kind in kinds
    }
    metrics = IngestorMetrics(CollectorRegistry())
    publisher = Publisher(producer, destinations, 10, metrics)
    return Leg("a", 0, venue, publisher, metrics, stop or asyncio.Event(), {})


def test_a_leg_ends_with_the_error_that_ends_its_reports():
    class Failing(MemoryProducer):
        def poll(self, timeout):
            raise KafkaException(KafkaError(KafkaError._FATAL))

    with pytest.raises(KafkaException):
        asyncio.run(asyncio.wait_for(leg_of(Venue(), Failing()).run(1), 10))


def test_reference_data_is_stated_anew_and_a_venue_that_refuses_is_asked_again_later(monkeypatch):
    monkeypatch.setattr(leg_module, "_RESTATE_SECONDS", 0.01)
    producer = MemoryProducer()
    venue = Venue([BTC], [BTC], VenueUnavailable("busy"), SettingRefused("no such symbol"), [BTC])

    async def run() -> None:
        running = asyncio.create_task(leg_of(venue, producer).run(1))
        while sum(sent.topic == "reference_data" for sent in producer.sent) < 3 and not running.done():
            await asyncio.sleep(0.005)
        assert not running.done()
        running.cancel()
        await asyncio.wait((running,))

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_leg_that_is_told_to_stop_does_not_wait_for_a_handshake():
    async def run() -> None:
        stop, begun = asyncio.Event(), asyncio.Event()

        async def say_nothing(reader, writer):
            await reader.read(1)
            begun.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            running = asyncio.create_task(leg_of(Venue([BTC], port=port), MemoryProducer(), stop).run(1))
            await begun.wait()
            stop.set()
            await asyncio.wait_for(running, 5)  # half of what a handshake may take

    asyncio.run(asyncio.wait_for(run(), 20))
