"""The publisher on a producer in memory: where records go, and what happens when there is no room."""

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from seamark.ingestor.errors import KafkaUnavailable, NotDrained, OutOfRoom
from seamark.ingestor.publisher import Destination, Publisher
from seamark.ingestor.venue import RecordStream
from seamark.market import decimals
from seamark.market.routing import Routing, RoutingMode
from seamark.market.schema import RecordKind
from seamark.stream.deadletter import DeadLetter, VenueFrame, from_headers
from seamark.stream.encode import Encoder
from seamark.telemetry.metrics import IngestorMetrics
from unit.ingestor.memory_producer import MemoryProducer, Sent

LIMIT = 10
ROUTINGS = {
    RecordKind.TRADES: Routing("trades", RoutingMode.TIERED, 4, {"BTCUSDT": 1}),
    RecordKind.FEED_EVENTS: Routing("events", RoutingMode.KEYED, 4),
}
TRADE = {
    "exchange": "binance",
    "market": "spot",
    "feed": "trade",
    "symbol": "BTCUSDT",
    "source_sequence": 1,
    "timestamp": 10**15,
    "ingestion_timestamp": 10**15,
    "price": decimals.to_bytes(1),
    "quantity": decimals.to_bytes(1),
    "currency": "USDT",
    "side": "BUY",
    "origin": "STREAM",
}
STREAM = RecordStream(
    RecordKind.TRADES,
    "BTCUSDT",
    {name: value for name, value in TRADE.items() if name not in ("price", "quantity")},
    (),
)
PRICED = {"price": TRADE["price"], "quantity": TRADE["quantity"]}
EVENT = {"event_id": "e", "kind": "PROGRESS", "exchange": "binance", "market": "spot", "timestamp": 1}


@pytest.fixture
def producer():
    return MemoryProducer()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def publisher(producer, registry):
    destinations = {kind: Destination(r.topic, f"id-{r.topic}", r) for kind, r in ROUTINGS.items()}
    return Publisher(producer, destinations, LIMIT, IngestorMetrics(registry))


def no_matter(error, record):
    pass


def test_a_record_goes_encoded_to_the_partition_of_its_key(publisher, producer):
    publisher.publish(STREAM, PRICED, no_matter)
    partition = ROUTINGS[RecordKind.TRADES].partition_of("BTCUSDT")
    value = Encoder(RecordKind.TRADES, 1).encode(TRADE)
    assert producer.sent == [Sent("trades", value, b"BTCUSDT", partition, [])]


def test_at_the_limit_nothing_but_events_is_taken(publisher, producer):
    producer.acknowledges = False
    for _ in range(LIMIT):
        publisher.publish(STREAM, PRICED, no_matter)
    with pytest.raises(OutOfRoom, match="10 records wait"):
        publisher.publish(STREAM, PRICED, no_matter)
    with pytest.raises(OutOfRoom):
        publisher.refuse(DeadLetter(VenueFrame("binance", "spot", "s", 1), "bad"), None, b"x", no_matter)
    publisher.announce("binance:spot:0", EVENT)
    assert len(producer.sent) == LIMIT + 1
    assert not publisher.has_room
    producer.acknowledges = True
    producer.poll(0)
    assert publisher.has_room


def test_a_refused_frame_goes_to_the_dead_letters_as_it_was(publisher, producer):
    letter = DeadLetter(VenueFrame("binance", "spot", "s", 1, "trade", "BTCUSDT", "7"), "price was 'x'")
    publisher.refuse(letter, "BTCUSDT", b"{bad", no_matter)
    (sent,) = producer.sent
    assert (sent.topic, sent.value, sent.key, sent.partition) == ("market.dlq", b"{bad", b"BTCUSDT", None)
    assert from_headers(sent.headers) == letter


def test_failures_of_the_producer_are_told_apart(publisher, producer):
    producer.failure = BufferError("Local: Queue full")
    with pytest.raises(OutOfRoom, match="queue is full"):
        publisher.announce("k", EVENT)
    producer.failure = KafkaException(KafkaError(KafkaError._FATAL))
    with pytest.raises(KafkaUnavailable, match="has failed"):
        publisher.announce("k", EVENT)


def test_a_drain_ends_when_all_is_acknowledged_and_counts_it(publisher, producer, registry):
    for _ in range(3):
        publisher.publish(STREAM, PRICED, no_matter)
    asyncio.run(publisher.drain(1))
    assert registry.get_sample_value("seamark_ingestor_records_acked_total") == 3
    assert registry.get_sample_value("seamark_ingestor_unacked_records") == 0


def test_who_hands_over_an_event_may_be_told_of_its_delivery(publisher, producer):
    reports = []
    publisher.announce("k", EVENT, lambda error, record: reports.append(error))
    producer.poll(0)
    assert reports == [None]


async def _served(publisher, until):
    serving = asyncio.create_task(publisher.run())
    while not serving.done() and not until():
        await asyncio.sleep(0.001)
    if not serving.done():
        serving.cancel()
        await asyncio.wait((serving,))
        return
    serving.result()


def test_reports_are_served_on_while_some_come_between_a_poll_and_its_count(publisher, producer, registry):
    def acked():
        return registry.get_sample_value("seamark_ingestor_records_acked_total")

    publisher.publish(STREAM, PRICED, no_matter)
    asyncio.run(_served(publisher, lambda: acked() == 1))
    producer.unserved = 2
    producer.acknowledges = False
    publisher.publish(STREAM, PRICED, no_matter)
    unacked = "seamark_ingestor_unacked_records"
    asyncio.run(_served(publisher, lambda: registry.get_sample_value(unacked) == 3))
    assert acked() == 1
    producer.unserved, producer.acknowledges = 0, True
    asyncio.run(_served(publisher, lambda: acked() == 2))


def test_a_drain_that_does_not_end_says_how_much_is_missing(publisher, producer):
    producer.acknowledges = False
    publisher.publish(STREAM, PRICED, no_matter)
    with pytest.raises(NotDrained, match="1 records were not acknowledged within 0 s"):
        asyncio.run(publisher.drain(0))


def test_topics_are_known_by_their_ids(publisher):
    assert publisher.topic_ids == {"trades": "id-trades", "events": "id-events"}
