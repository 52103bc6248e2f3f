"""The log, read raw from Kafka by a consumer that belongs to no group."""

import time
from collections.abc import Iterator

from confluent_kafka import (
    Consumer,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import LogRecord, Topic

_ANSWER_SECONDS = 20.0
_WAIT_SECONDS = 1.0
_BATCH_RECORDS = 10_000


class KafkaLog:
    """A `Log` over a Kafka cluster. Use as a context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "seamark-oracle",  # the client wants a name; nothing is committed under it
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": False,
                "log_level": 2,
            }
        )

    def __enter__(self) -> "KafkaLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def cluster_id(self) -> str:
        try:
            return str(self._admin.list_topics(timeout=_ANSWER_SECONDS).cluster_id)
        except KafkaException as error:
            raise OracleError(f"Kafka at {self._bootstrap} does not answer: {error}") from error

    def topic(self, name: str) -> Topic | None:
        try:
            if name not in self._admin.list_topics(timeout=_ANSWER_SECONDS).topics:
                return None
            asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_SECONDS)
            described = asked[name].result(_ANSWER_SECONDS)
            ranges = {
                partition.id: self._consumer.get_watermark_offsets(
                    TopicPartition(name, partition.id), timeout=_ANSWER_SECONDS, cached=False
                )
                for partition in described.partitions
            }
        except KafkaException as error:
            raise OracleError(f"Kafka at {self._bootstrap} does not describe {name}: {error}") from error
        return Topic(str(described.topic_id), ranges)

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        if first >= end:
            return
        where = f"{topic}-{partition} [{first}, {end})"
        self._consumer.assign([TopicPartition(topic, partition, first)])
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            while first < end:
                # It waits until it has as many as asked for: never ask for more than there are.
                wanted = min(_BATCH_RECORDS, end - first)
                for message in self._consumer.consume(wanted, timeout=_WAIT_SECONDS):
                    offset = message.offset()
                    if message.error() is not None or offset is None:
                        raise OracleError(f"Kafka does not give {where}: {message.error()}")
                    if offset >= end:
                        return
                    yield LogRecord(offset, message.timestamp()[1], message.value())
                    first = offset + 1
                    deadline = time.monotonic() + _ANSWER_SECONDS
                if time.monotonic() > deadline:
                    raise OracleError(
                        f"Kafka gave nothing of {where} from {first} on for {_ANSWER_SECONDS:g} s"
                    )
        except KafkaException as error:
            raise OracleError(f"Kafka does not give {where}: {error}") from error
        finally:
            self._consumer.unassign()
