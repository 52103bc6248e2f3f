"""librdkafka's mock broker: real clients against it, in milliseconds, without Kafka's rules on content."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

PARTITIONS = 4
"""Of each topic that is made by using it."""
_SECONDS = 10.0


class MockBroker:
    """Lives in this process, as long as this object."""

    def __init__(self) -> None:
        self._producer = Producer(
            {"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 0}
        )
        broker = next(iter(self._producer.list_topics(timeout=_SECONDS).brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"

    def append(self, topic: str, partition: int, values: Iterable[bytes]) -> None:
        """Returns when all are in the log."""
        for value in values:
            self._producer.produce(topic, value, partition=partition)
        assert self._producer.flush(_SECONDS) == 0, "the mock broker did not acknowledge all records"

    def messages(self, topic: str) -> list[Message]:
        """All records of a topic, partition by partition."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "log_level": 0})
        found: list[Message] = []
        for partition in range(PARTITIONS):
            where = TopicPartition(topic, partition, OFFSET_BEGINNING)
            _, end = reader.get_watermark_offsets(where, timeout=_SECONDS)
            reader.assign([where])
            left = end
            while left:
                batch = reader.consume(left, _SECONDS)
                assert batch, f"{left} of {end} records of {topic}-{partition} did not come"
                found += batch
                left -= len(batch)
        reader.close()
        return found
