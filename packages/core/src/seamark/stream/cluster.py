"""Facts about Kafka's topics, asked outside the read path."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Bounds, TopicPartition

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
_ENDS_TIMEOUT_SECONDS = 2.0
"""Asked all the time: a leader that is away must not hold up for long what is asked beside."""


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

    def ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        # As a time, the end's own number means the end; this alone asks for many partitions at once.
        places = [KafkaTopicPartition(topic, partition, OFFSET_END) for partition in partitions]
        try:
            found = self._asker.offsets_for_times(places, timeout=_ENDS_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise LogUnavailable(f"asking for the ends of topic {topic}: {error}") from error
        finally:
            self._log()
        return {place.partition: place.offset for place in found if place.error is None and place.offset >= 0}

    def _log(self) -> None:
        # What the clients have to say waits in their queues until they are polled.
        self._admin.poll(0)
        self._asker.poll(0)

    def close(self) -> None:
        self._asker.close()
