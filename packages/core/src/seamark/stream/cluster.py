"""Facts about Kafka's topics, asked outside the read path."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Bounds, TopicPartition

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0


class KafkaCluster:
    """Facts about topics. Raises LogUnavailable where the cluster does not answer."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap}, logger=logger)
        # Watermarks are a consumer's question; this one never joins its group.
        self._asker = Consumer({"bootstrap.servers": bootstrap, "group.id": "seamark-bounds"}, logger=logger)

    def cluster_id(self) -> str:
        try:
            return str(self._admin.list_topics(timeout=_TIMEOUT_SECONDS).cluster_id)
        except KafkaException as error:
            raise LogUnavailable(f"asking for the cluster id: {error}") from error
        finally:
            self._log()

    def topic_id(self, topic: str) -> str | None:
        try:
            future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_SECONDS)[
                topic
            ]
            return str(future.result().topic_id)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise LogUnavailable(f"asking for the id of topic {topic}: {error}") from error
        finally:
            self._log()

    def partitions(self, topic: str) -> int:
        try:
            metadata = self._admin.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        except KafkaException as error:
            raise LogUnavailable(f"asking for the partitions of topic {topic}: {error}") from error
        finally:
            self._log()
        if metadata.error is not None:
            raise LogUnavailable(f"topic {topic}: {metadata.error.str()}")
        return len(metadata.partitions)

    def bounds(self, where: TopicPartition) -> Bounds:
        try:
            start, end = self._asker.get_watermark_offsets(
                KafkaTopicPartition(*where), timeout=_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            raise LogUnavailable(f"asking for the bounds of {where}: {error}") from error
        finally:
            self._log()
        return Bounds(start, end)

    def _log(self) -> None:
        # What the clients have to say waits in their queues until they are polled.
        self._admin.poll(0)
        self._asker.poll(0)

    def close(self) -> None:
        self._asker.close()
