"""Asks, once a second, how far the writers are: what their group says of each partition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from seamark.stream.errors import LogUnavailable
from seamark.stream.log import TopicPartition

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Processed:
    """What the writers' group says of a partition."""

    offset: int
    """Next offset to be decoded."""
    tiers: frozenset[int] | None
    """Tiers that are read; None: it does not say."""


class WritersGroup:
    """The group's offsets. For one thread; `processed` is for all."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._group = group
        self.processed: Mapping[TopicPartition, Processed] = {}

    def poll(self) -> None:
        """Ask once.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        try:
            # Kept in a name: the future fails when what holds it is collected.
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(self._group)], request_timeout=_TIMEOUT_SECONDS
            )
            places = asked[self._group].result().topic_partitions
        except KafkaException as error:
            raise LogUnavailable(f"asking for the offsets of group {self._group}: {error}") from error
        self.processed = {
            TopicPartition(place.topic, place.partition): Processed(place.offset, tiers_of(place.metadata))
            for place in places
            if place.offset >= 0
        }


def tiers_of(metadata: str | None) -> frozenset[int] | None:
    """Tiers that the writers say they read: `{"admitted_tiers":[1,2,3]}`; None: it is something else."""
    try:
        return frozenset(int(tier) for tier in json.loads(metadata or "")["admitted_tiers"])
    except (ValueError, TypeError, KeyError):
        return None
