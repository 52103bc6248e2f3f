"""Asks Kafka, once a second, what reading does not show: whose topic it is, and how far the writers are."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Cluster, TopicPartition
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.store import Store
from seamark.tail_cache.tail import Tail

logger = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Processed:
    """What the writers' group says of a partition."""

    offset: int
    """Next offset to be decoded."""
    tiers: frozenset[int] | None
    """Tiers that are read; None: it does not say."""


class Watch:
    """Facts from Kafka for the tail and for the lag. For one thread; `processed` is for all."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        cluster: Cluster,
        followers: Sequence[Follower],
        tail: Tail,
        store: Store,
    ) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._group = group
        self._cluster = cluster
        self._followers = followers
        self._tail = tail
        self._store = store
        self._widened: set[str] = set()
        self.processed: Mapping[TopicPartition, Processed] = {}

    def poll(self) -> None:
        """Ask once.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        for follower in self._followers:
            self._topics(follower)
        self._positions()

    def _topics(self, follower: Follower) -> None:
        for stream_id in {where.stream_id for where in self._store.now.views[follower.kind]}:
            stream = follower.streams.get(stream_id)
            if stream is None:
                continue
            # Ids are never used again: what had been read before the answer is of the topic it names.
            reached = {
                where: view.hi
                for where, view in self._store.now.views[follower.kind].items()
                if where.stream_id == stream_id
            }
            actual = self._cluster.topic_id(stream.topic)
            if actual == stream.topic_id:
                self._tail.submit(partial(self._tail.vouch, follower.kind, reached))
                self._width(stream.topic, stream.partitions)
            elif actual is not None:
                said = f"topic {stream.topic}: id was {actual}, must be {stream.topic_id}"
                self._tail.submit(partial(self._tail.disown, follower.kind, stream_id, said))

    def _width(self, topic: str, expected: int) -> None:
        partitions = self._cluster.partitions(topic)
        if partitions > expected and topic not in self._widened:
            self._widened.add(topic)
            logger.error(
                "topic has more partitions than its stream: the others are read by nobody",
                extra={"topic": topic, "partitions": partitions, "stream": expected},
            )

    def _positions(self) -> None:
        try:
            # Kept in a name: the future fails when what holds it is collected.
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(self._group)], request_timeout=_TIMEOUT_SECONDS
            )
            places = asked[self._group].result().topic_partitions
        except KafkaException as error:
            raise LogUnavailable(f"asking for the offsets of group {self._group}: {error}") from error
        self.processed = {
            TopicPartition(place.topic, place.partition): Processed(place.offset, _tiers(place.metadata))
            for place in places
            if place.offset >= 0
        }


def _tiers(metadata: str | None) -> frozenset[int] | None:
    try:
        return frozenset(int(tier) for tier in json.loads(metadata or "")["admitted_tiers"])
    except (ValueError, TypeError, KeyError):
        return None
