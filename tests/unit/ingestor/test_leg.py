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
    """Nothing listens where it sends legs to. What it states of its instruments, call by call."""

    exchange, market = "binance", "spot"

    def __init__(self, *statements: object) -> None:
        self._statements = iter(statements)

    def stream_url(self) -> str:
        return "ws://127.0.0.1:9/stream"  # the discard port

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


def leg_of(venue: Venue, producer: MemoryProducer) -> Leg:
    kinds = (RecordKind.TRADES, RecordKind.REFERENCE_DATA, RecordKind.FEED_EVENTS)
    destinations = {
        kind: Destination(kind.value, "id", Routing(kind.value, RoutingMode.KEYED, 1)) for kind in kinds
    }
    metrics = IngestorMetrics(CollectorRegistry())
    publisher = Publisher(producer, destinations, 10, metrics)
    return Leg("a", 0, venue, publisher, metrics, asyncio.Event(), {})


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
