"""The Kafka edge: records of assigned partitions from given offsets, soon after they are appended.

One consumer serves the tail's end and what lies behind it alike: a fetch is answered with the
first byte there is (fetch.min.bytes), and when far behind every answer is as large as the limits
allow. No group: positions come from the table, and every replica reads its own partitions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.messages import runs_of
from seamark.tail_cache.source import Start

logger = logging.getLogger(__name__)

_ELSEWHERE = frozenset(
    {KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}
)
"""The log is not where reading stands: only the table can say where to go on."""
_FATAL = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


class Feed:
    """A `tail.Source`. For one thread."""

    def __init__(self, bootstrap: str, options: Mapping[str, object] | None = None) -> None:
        self._assigned: dict[TopicPartition, KafkaTopicPartition] = {}
        self._lost: dict[TopicPartition, str] = {}
        self._paused = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "seamark-tail",  # must be there; it is never joined, nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.min.bytes": 1,
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 50,
                "fetch.max.bytes": 16_000_000,
                "max.partition.fetch.bytes": 4_000_000,
                "queued.min.messages": 100_000,
                "queued.max.messages.kbytes": 65_536,
                # A full queue stops fetching for this long; the client's second would leave it empty.
                "fetch.queue.backoff.ms": 5,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                **(options or {}),
            },
            logger=logger,
        )

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        self.end(starts)
        for where, start in starts.items():
            self._assigned[where] = _place(where, start)
        if starts:
            places = [self._assigned[where] for where in starts]
            self._consumer.incremental_assign(places)
            # The client keeps each partition's pause over unassigning and assigning.
            self._apply_pause(places)

    def end(self, gone: Iterable[TopicPartition]) -> None:
        places = [place for where in gone if (place := self._assigned.pop(where, None)) is not None]
        if places:
            self._consumer.incremental_unassign(places)

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self._apply_pause(list(self._assigned.values()))

    def _apply_pause(self, places: list[KafkaTopicPartition]) -> None:
        if places:
            (self._consumer.pause if self._paused else self._consumer.resume)(places)

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        # The client's own wait for a batch ends when it is full: here the first record ends it.
        first = self._consumer.poll(timeout_seconds)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(most, 0)]
        if any(map(Message.error, messages)):
            messages = [message for message in messages if not self._is_error(message)]
        return runs_of(messages)

    def _is_error(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        topic, partition = message.topic(), message.partition()
        if error.fatal() or error.code() in _FATAL:
            raise Stopped(f"{topic or 'Kafka'}: {error.name()}: {error.str()}")
        if topic is not None and partition is not None and error.code() in _ELSEWHERE:
            self._lost[TopicPartition(topic, partition)] = f"{error.name()}: {error.str()}"
        else:
            logger.warning("kafka", extra={"where": topic, "error": f"{error.name()}: {error.str()}"})
        return True

    def lost(self) -> dict[TopicPartition, str]:
        lost, self._lost = self._lost, {}
        return {where: reason for where, reason in lost.items() if where in self._assigned}

    def end_offset(self, where: TopicPartition) -> int:
        return max(-1, self._consumer.get_watermark_offsets(KafkaTopicPartition(*where), cached=True)[1])

    def close(self) -> None:
        self._consumer.close()


def _place(where: TopicPartition, start: Start) -> KafkaTopicPartition:
    if start.leader_epoch < 0:
        return KafkaTopicPartition(*where, start.offset)
    return KafkaTopicPartition(*where, start.offset, leader_epoch=start.leader_epoch)
