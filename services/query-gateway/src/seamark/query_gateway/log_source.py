"""The Kafka edge: rows straight from the log, judged as the writer would, from state(H).

The slow way, for holes alone: the tail has the same rows ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import polars as pl
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from seamark.lake.assignment import check_log, check_topic, find_logs
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import LakeError
from seamark.lake.states import StateStore, restore
from seamark.lake.view import LakeTable
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.seam import start_of
from seamark.stream.cluster import KafkaCluster
from seamark.stream.decode import Decoder
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Bounds, TopicPartition
from seamark.stream.messages import runs_of
from seamark.stream.observe import Observer, Place
from seamark.stream.rows import with_stream

_TIMEOUT_SECONDS = 5.0
_BATCH = 20_000


class KafkaLog:
    """A `LogSource` over a Kafka cluster and the tables' state files."""

    def __init__(
        self,
        bootstrap: str,
        cluster: KafkaCluster,
        tables: Mapping[RecordKind, LakeTable],
        store: StateStore,
    ) -> None:
        self._cluster = cluster
        self._tables = tables
        self._store = store
        self._config = {
            "bootstrap.servers": bootstrap,
            "group.id": "seamark-gateway",  # never joined, nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": False,
            "fetch.wait.max.ms": 50,
        }
        self._asker = Consumer(self._config)

    def bounds(self, pin: Pin, where: StreamPartition) -> Bounds:
        self._check_topic(pin, where)
        return self._cluster.bounds(TopicPartition(pin.topic_of(where), where.partition))

    def offset_after(self, pin: Pin, where: StreamPartition, instant_us: int) -> int:
        self._check_topic(pin, where)
        topic = pin.topic_of(where)
        # The broker knows whole milliseconds, and so does every append time.
        later_ms = instant_us // 1000 + 1
        asked = f"asking {topic}-{where.partition} for the offset at {later_ms} ms"
        try:
            (found,) = self._asker.offsets_for_times(
                [KafkaTopicPartition(topic, where.partition, later_ms)], timeout=_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            raise LogUnavailable(f"{asked}: {error}") from error
        if found.error is not None:
            raise LogUnavailable(f"{asked}: {found.error}")
        if found.offset >= 0:
            return int(found.offset)
        return self.bounds(pin, where).end

    def _check_topic(self, pin: Pin, where: StreamPartition) -> None:
        try:
            check_topic(self._cluster, pin.streams[where.stream_id])
        except Stopped as error:
            raise LogUnavailable(str(error)) from error

    def read(self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event) -> pl.DataFrame:
        self._check_topic(pin, where)
        kind = RecordKind(pin.table)
        topic = TopicPartition(pin.topic_of(where), where.partition)
        first = start_of(pin, where)
        observer = Observer(kind, Decoder(kind))
        point = pin.view.checkpoints.get(where)
        if point is None or point.next != first:
            raise LogUnavailable(f"state of {where} at {first} is not known: {pin.doubt or 'no checkpoint'}")
        try:
            check_log(where, topic, point, find_logs(self._cluster, {topic: point})[topic])
        except Stopped as error:
            raise LogUnavailable(str(error)) from error
        try:
            state = restore(
                self._tables[kind], pin.view, self._store, kind, [where], lambda partition, reason: None
            )[where]
        except LakeError as error:
            raise LogUnavailable(f"state of {where}: {error}") from error
        place = Place(where, topic, first, state, point.leader_epoch)
        observer.begin(place)
        frames = []
        deadline = time.monotonic() + 30.0
        consumer = Consumer(self._config)
        try:
            consumer.assign([_place(topic, first, point.leader_epoch)])
            while place.position < end:
                if cancelled.is_set() or time.monotonic() > deadline:
                    raise LogUnavailable(f"reading [{first}, {end}) of {topic} was not done in time")
                messages = consumer.consume(min(_BATCH, end - place.position), 0.5)
                observed, paused = observer.observe(runs_of(_good(messages)))
                if paused:
                    raise LogUnavailable(f"{topic}: schema id {paused[0].schema_id} cannot be resolved")
                frames += [one.rows for one in observed if len(one.rows)]
        except (KafkaException, Stopped) as error:
            raise LogUnavailable(f"reading [{first}, {end}) of {topic}: {error}") from error
        finally:
            consumer.close()
        # Made anew meanwhile, it may have given records of another life.
        self._check_topic(pin, where)
        columns = row_schema(kind).names
        if not frames:
            return pl.DataFrame(row_schema(kind).empty_table())
        rows = with_stream(pl.concat(frames), where, topic.topic).select(columns)
        return rows.filter(pl.col("kafka_offset") < end)


def _place(topic: TopicPartition, offset: int, leader_epoch: int) -> KafkaTopicPartition:
    """With the epoch of the record below it, where that is known: Kafka says if another has its offset now."""
    if leader_epoch < 0:
        return KafkaTopicPartition(*topic, offset)
    return KafkaTopicPartition(*topic, offset, leader_epoch=leader_epoch)


def _good(messages: list[Message]) -> list[Message]:
    """Raises KafkaException for an error that is one of this partition."""
    for message in messages:
        if (error := message.error()) is not None:
            raise KafkaException(error)
    return messages
