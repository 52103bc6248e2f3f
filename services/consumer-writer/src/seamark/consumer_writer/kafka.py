"""The Kafka edge of reading: a consumer in a KIP-848 group.

Reading always begins where the table says: at H, with its leader epoch, by which the client notices a
truncation that comes while it reads. One that came before, it does not: `lake/assignment.py` looks for that.
The group's committed offsets are for metrics alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import TopicPartition as KafkaTopicPartition

from seamark.consumer_writer.table_writer import Start
from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.messages import runs_of

logger = logging.getLogger(__name__)

_LEAVE_SECONDS = 5.0
"""Then the group finds out by its session timeout, as it does of a writer that was killed."""
_LOG_MOVED = frozenset(
    {KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}
)
_MAY_NOT_READ = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


def stop_reason(where: str, error: KafkaError) -> str | None:
    """Why reading cannot go on after `error`, and the way on; None where waiting mends it."""
    said = f"{where}: {error.name()}: {error.str()}"
    if error.code() in _LOG_MOVED:
        return (
            f"{said}. The log is not what the table was written from: it was truncated, or begins behind H. "
            f"Way on: start again; the start says which, and what to do"
        )
    if error.code() in _MAY_NOT_READ:
        return f"{said}. The writer may not read it. Way on: allow READ of the topics and of the group, start again"
    # The client wraps what is fatal for a consumer in an error of its own, which does not say it is.
    if error.fatal() or error.code() == KafkaError._FATAL:
        return (
            f"{said}. Kafka's client cannot go on. Way on: start again; if it comes back, look at the brokers: "
            f"they must have the groups of KIP-848 (Kafka 4.0 or newer) and their range assignor"
        )
    return None


class Listener(Protocol):
    """Is told of rebalances, from inside `KafkaSource.poll`."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Start]:
        """Where to begin each partition; those not named stay paused until `begin` is called."""
        ...

    def revoked(self, partitions: Sequence[TopicPartition], lost: bool) -> None: ...


class KafkaSource:
    """Records of the subscribed topics, as runs."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        listener: Listener,
        options: Mapping[str, object],
    ) -> None:
        self._group = group
        self._listener = listener
        self._failure: BaseException | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "group.protocol": "consumer",
                # The default, uniform, gives all partitions of trades to one member and all of quotes to
                # another; range spreads each topic by itself.
                "group.remote.assignor": "range",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": False,
                # Rows wait for a flush anyway: a tenth of a second's records come in one answer, not in one for
                # each batch that is appended, which broker and writer would pay for.
                "fetch.min.bytes": 1_000_000,
                "fetch.wait.max.ms": 100,
                # When behind, few large fetches. The queue is small: a queued record costs a
                # multiple of its own bytes.
                "fetch.max.bytes": 16_000_000,
                "max.partition.fetch.bytes": 4_000_000,
                "queued.min.messages": 100_000,
                "queued.max.messages.kbytes": 16_384,
                # A full queue stops fetching for this long; the client's second leaves it empty for most of it.
                "fetch.queue.backoff.ms": 20,
                **options,
            },
            logger=logger,
        )
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        """Runs of up to `most` records, in offset order within each partition.

        Raises:
            Stopped: the log cannot be read on from where the table ends.
            LakeError, LogUnavailable: what the listener raised.
            KafkaException: the client takes no assignment any more.
        """
        messages = self._consumer.consume(most, timeout_seconds)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if not messages:
            return []
        if any(map(Message.error, messages)):
            messages = [message for message in messages if not self._is_error(message)]
        return runs_of(messages)

    def _is_error(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        where = f"{message.topic()}-{message.partition()}" if message.topic() else f"group {self._group}"
        if (reason := stop_reason(where, error)) is not None:
            raise Stopped(reason)
        logger.warning("kafka", extra={"where": where, "error": f"{error.name()}: {error.str()}"})
        return True

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        """(Re)start assigned partitions at their offsets; queued records of them are discarded.

        They are read from now on, whether they were paused before or not.
        """
        assigned = {TopicPartition(p.topic, p.partition) for p in self._consumer.assignment()}
        places = [_place(where, start) for where, start in starts.items() if where in assigned]
        if places:
            # Seeking keeps no leader epoch; assigning anew does, and drops what was fetched before.
            self._consumer.incremental_unassign(places)
            self._consumer.incremental_assign(places)
            # The client keeps a pause over unassigning and assigning, to the end of its own life.
            self._consumer.resume(places)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering these; what is queued is kept."""
        if partitions:
            self._consumer.pause([KafkaTopicPartition(*where) for where in partitions])

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            self._consumer.resume([KafkaTopicPartition(*where) for where in partitions])

    def publish_positions(self, positions: Mapping[TopicPartition, int], metadata: str) -> None:
        """Commit buffered positions for the group: for metrics and dashboards, never for seeking."""
        offsets = [
            KafkaTopicPartition(where.topic, where.partition, offset, metadata=metadata)
            for where, offset in positions.items()
        ]
        if offsets:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                logger.warning("group offsets not published", extra={"error": str(error)})

    def close(self) -> None:
        """Leave the group; not for longer than a few seconds, for a Kafka that is gone does not answer."""
        # The client itself waits for its coordinator without end.
        leaving = threading.Thread(target=self._consumer.close, name="leave-group", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_SECONDS)
        if leaving.is_alive():
            logger.warning("group not left: Kafka does not answer", extra={"group": self._group})

    # An exception out of a callback would pass through librdkafka's C frames: keep it, raise it from poll.

    def _on_assign(self, consumer: Consumer, partitions: list[Any]) -> None:
        wanted = [TopicPartition(p.topic, p.partition) for p in partitions]
        starts: Mapping[TopicPartition, Start] = {}
        try:
            starts = self._listener.assigned(wanted)
        except Exception as error:  # noqa: BLE001 - any failure is raised again from poll
            self._failure = error
        ready = [_place(where, starts[where]) for where in wanted if where in starts]
        waiting = [KafkaTopicPartition(*where, OFFSET_BEGINNING) for where in wanted if where not in starts]
        try:
            consumer.incremental_assign(ready + waiting)
            # A partition that this consumer had and paused before comes back paused.
            consumer.resume(ready)
            consumer.pause(waiting)
        except KafkaException as error:
            self._failure = self._failure or error

    def _on_revoke(self, consumer: Consumer, partitions: list[Any]) -> None:
        self._give_up(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[Any]) -> None:
        self._give_up(consumer, partitions, lost=True)

    def _give_up(self, consumer: Consumer, partitions: list[Any], lost: bool) -> None:
        try:
            self._listener.revoked([TopicPartition(p.topic, p.partition) for p in partitions], lost)
        except Exception as error:  # noqa: BLE001 - any failure is raised again from poll
            self._failure = error
        try:
            consumer.incremental_unassign(partitions)
        except KafkaException as error:
            self._failure = self._failure or error


def _place(where: TopicPartition, start: Start) -> Any:  # noqa: ANN401 - untyped library
    if start.leader_epoch >= 0:
        return KafkaTopicPartition(
            where.topic, where.partition, start.offset, leader_epoch=start.leader_epoch
        )
    return KafkaTopicPartition(where.topic, where.partition, start.offset)
