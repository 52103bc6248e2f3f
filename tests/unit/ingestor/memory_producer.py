"""A producer in memory, as librdkafka's queue behaves."""

from collections import deque
from dataclasses import dataclass

from seamark.ingestor.publisher import OnDelivery


@dataclass(frozen=True)
class Sent:
    topic: str
    value: bytes
    key: bytes | None
    partition: int | None
    headers: list[tuple[str, bytes]]


class Placed:
    """Where a record is does not matter here."""

    def topic(self):
        return "trades"

    def partition(self):
        return 0

    def offset(self):
        return 0


class MemoryProducer:
    """Takes records and acknowledges them when told to, as librdkafka's queue does."""

    def __init__(self):
        self.sent: list[Sent] = []
        self.waiting: deque[OnDelivery] = deque()
        self.acknowledges = True
        self.failure: Exception | None = None
        self.unserved = 0
        """Reports that have come since the last poll: the length counts them beside their records."""

    def produce(self, topic, value, key=None, partition=None, *, on_delivery=None, headers=()):
        if self.failure is not None:
            raise self.failure
        self.sent.append(Sent(topic, value, key, partition, list(headers)))
        self.waiting.append(on_delivery)

    def poll(self, timeout):
        while self.acknowledges and self.waiting:
            self.waiting.popleft()(None, Placed())
        return 0

    def flush(self, timeout):
        self.poll(timeout)
        return len(self.waiting)

    def __len__(self):
        return len(self.waiting) + self.unserved
