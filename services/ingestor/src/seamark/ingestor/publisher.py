"""Kafka's edge: records of every kind out, acknowledgements back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from seamark.ingestor.errors import KafkaUnavailable, NotDrained, OutOfRoom
from seamark.ingestor.progress import Delivered
from seamark.ingestor.venue import RecordStream
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.stream.deadletter import DeadLetter, to_headers
from seamark.stream.encode import Encoder
from seamark.stream.topics import DEAD_LETTERS
from seamark.stream.wire import FIXED_SCHEMA_IDS
from seamark.telemetry.metrics import IngestorMetrics

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.005
_EVENT_ROOM = 1_000
"""Records beyond the limit that the producer takes: events say what happened when it was reached."""

OnDelivery = Callable[[object | None, Delivered], None]


@dataclass(frozen=True, slots=True)
class Destination:
    """A topic as it is now: its id changes if it is made anew."""

    topic: str
    topic_id: str
    routing: Routing


class LogProducer(Protocol):
    """What the publisher uses of confluent_kafka.Producer."""

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = ...,
        partition: int = ...,
        *,
        on_delivery: Any = ...,  # noqa: ANN401 - its own message type, whose topic may be None
        headers: Any = ...,  # noqa: ANN401
    ) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...
    def __len__(self) -> int: ...


def connect(bootstrap: str, client_id: str, linger_ms: float, unacked_limit: int) -> Producer:
    """An idempotent producer that never gives up on a record while the process lives."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": linger_ms,
            "compression.type": "lz4",
            "queue.buffering.max.messages": unacked_limit + _EVENT_ROOM,
            "queue.buffering.max.kbytes": 2_000_000,  # the count above is what limits memory
            "message.timeout.ms": 0,  # no age at which a trade may be dropped
            "error_cb": _log_error,
        },
        logger=_log,
    )


class Publisher:
    """Sends records of each kind where its routing says. For one thread: the event loop's.

    Delivery reports are called from `run`, in the order in which partitions acknowledge.
    """

    def __init__(
        self,
        producer: LogProducer,
        destinations: Mapping[RecordKind, Destination],
        unacked_limit: int,
        metrics: IngestorMetrics,
    ) -> None:
        self._producer, self._metrics = producer, metrics
        self._produced = self._acked_counted = 0
        self._limit = unacked_limit
        self._destinations = destinations
        self._encoders = {
            kind: Encoder(kind, FIXED_SCHEMA_IDS[kind]) for kind in destinations if not kind.sequenced
        }
        self._targets: dict[RecordStream, tuple[Encoder, str, bytes, int]] = {}

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """Kafka's id of each topic, by name."""
        return {each.topic: each.topic_id for each in self._destinations.values()}

    @property
    def has_room(self) -> bool:
        """Whether so little waits that a connection can be opened again."""
        return 2 * len(self._producer) < self._limit

    def publish(self, stream: RecordStream, record: Mapping[str, object], on_delivery: OnDelivery) -> None:
        """Hand over a trade or quote: what its stream's constants do not say. Does not block.

        Raises:
            OutOfRoom: too many wait; this record was not taken.
            KafkaUnavailable: the producer has failed for good.
        """
        self._require_room()
        target = self._targets.get(stream)
        if target is None:
            target = self._targets[stream] = self._target(stream)
        encoder, topic, key, partition = target
        self._produce(topic, encoder.encode(record), key=key, partition=partition, on_delivery=on_delivery)

    def state(self, symbol: str, instrument: Mapping[str, object]) -> None:
        """Hand over a record of reference data. Raises as `publish` does."""
        self._require_room()
        self._send(RecordKind.REFERENCE_DATA, symbol, instrument)

    def announce(self, key: str, event: Mapping[str, object], on_delivery: OnDelivery | None = None) -> None:
        """Hand over a feed event; it is taken beyond the limit too. Raises as `publish` does."""
        self._send(RecordKind.FEED_EVENTS, key, event, on_delivery)

    def refuse(self, letter: DeadLetter, key: str | None, frame: bytes, on_delivery: OnDelivery) -> None:
        """Hand over a refused frame to the dead-letter topic. Raises as `publish` does."""
        self._require_room()
        encoded_key = None if key is None else key.encode()
        self._produce(
            DEAD_LETTERS, frame, key=encoded_key, headers=to_headers(letter), on_delivery=on_delivery
        )

    async def run(self) -> None:
        """Serve delivery reports until cancelled."""
        while True:
            self._producer.poll(0)
            self._measure()
            await asyncio.sleep(_POLL_SECONDS)

    async def drain(self, deadline_seconds: float) -> None:
        """Return when all that was handed over is acknowledged.

        Raises:
            NotDrained: it is not, after the deadline.
        """
        deadline = time.monotonic() + deadline_seconds
        # A short flush makes the producer send at once instead of lingering.
        while self._producer.flush(0.05):
            if time.monotonic() > deadline:
                raise NotDrained(
                    f"{len(self._producer)} records were not acknowledged within {deadline_seconds:g} s "
                    f"(SEAMARK_DRAIN_SECONDS); what they held must be fetched from the venue again"
                )
            await asyncio.sleep(0)
        self._measure()

    def _measure(self) -> None:
        unacked = len(self._producer)
        # The producer's length counts reports that are not served yet beside their records: what
        # seems acknowledged falls for a moment when some have come since the poll.
        acked = max(self._produced - unacked, self._acked_counted)
        self._metrics.unacked_records.set(unacked)
        self._metrics.records_acked.inc(acked - self._acked_counted)
        self._acked_counted = acked

    def _require_room(self) -> None:
        if len(self._producer) >= self._limit:
            raise OutOfRoom(f"{self._limit} records wait for Kafka's acknowledgement")

    def _target(self, stream: RecordStream) -> tuple[Encoder, str, bytes, int]:
        schema_id = FIXED_SCHEMA_IDS[stream.kind]
        destination = self._destinations[stream.kind]
        return (
            Encoder(stream.kind, schema_id, stream.constants, stream.present),
            destination.topic,
            stream.symbol.encode(),
            destination.routing.partition_of(stream.symbol),
        )

    def _send(
        self,
        kind: RecordKind,
        key: str,
        record: Mapping[str, object],
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self._produce(
            self._destinations[kind].topic,
            self._encoders[kind].encode(record),
            key=key.encode(),
            partition=self._destinations[kind].routing.partition_of(key),
            on_delivery=on_delivery or _log_undelivered,
        )

    def _produce(self, topic: str, value: bytes, **options: Any) -> None:  # noqa: ANN401
        try:
            self._producer.produce(topic, value, **options)
        except BufferError as error:
            raise OutOfRoom(f"the producer's queue is full: {error}") from error
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka's producer has failed: {error}") from error
        self._produced += 1


def _log_error(error: KafkaError) -> None:
    _log.warning("Kafka: %s", error.str())


def _log_undelivered(error: object | None, _record: Delivered) -> None:
    if error is not None:
        _log.error("a feed event or instrument was not delivered: %s", error)
