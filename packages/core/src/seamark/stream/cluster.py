"""Facts about Kafka's topics, asked outside the read path."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Bounds, TopicPartition
from seamark.stream.messages import epoch_of

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
_ENDS_TIMEOUT_SECONDS = 2.0
"""Asked all the time: a leader that is away must not hold up for long what is asked beside."""
_NOT_THERE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})


class KafkaCluster:
    """Facts about topics. Raises LogUnavailable where the cluster does not answer."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
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

    def epochs_at(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        # A consumer of its own: assignments of several threads would be in each other's way.
        reader = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "seamark-bounds",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                # One record of each: fetch nothing ahead, and the next partition at once.
                "queued.min.messages": 1,
                "fetch.queue.backoff.ms": 1,
                "fetch.wait.max.ms": 100,
            },
            logger=logger,
        )
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        left, found, said = dict(offsets), dict[TopicPartition, int](), "no answer"
        try:
            reader.assign([KafkaTopicPartition(*where, offset) for where, offset in left.items()])
            while left and (patience_seconds := deadline - time.monotonic()) > 0:
                if (message := reader.poll(patience_seconds)) is None:
                    break
                topic, partition, error = message.topic(), message.partition(), message.error()
                if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise Stopped(
                        f"{topic}: {error.name()}: {error.str()}. Way on: allow READ of the topic, start again"
                    )
                if (
                    topic is None
                    or partition is None
                    or (error is not None and error.code() not in _NOT_THERE)
                ):
                    said = str(error)  # the client goes on by itself
                    continue
                where = TopicPartition(topic, partition)
                if (offset := left.pop(where, None)) is None:
                    continue
                if error is None and message.offset() == offset:
                    found[where] = epoch_of(message)
                # A partition that has answered would fill the fetches that others wait for.
                reader.incremental_unassign([KafkaTopicPartition(*where)])
        except KafkaException as error:
            raise LogUnavailable(f"reading the records at {left}: {error}") from error
        finally:
            reader.close()
        if left:
            raise LogUnavailable(f"reading the records at {left}: {said} within {_TIMEOUT_SECONDS:g} s")
        return found

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
