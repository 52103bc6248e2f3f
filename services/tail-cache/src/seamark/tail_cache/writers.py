"""Asks, once a second, how far the writers are: what their group says of each partition."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from seamark.stream.errors import LogUnavailable
from seamark.stream.log import TopicPartition
from seamark.tail_cache.store import Store

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Processed:
    """What the writers' group says of a partition."""

    offset: int
    """Next offset to be decoded."""
    tiers: frozenset[int] | None
    """Tiers that are read; None: it does not say."""


class WritersGroup:
    """The group's offsets of what is held. For one thread; `processed` is for all."""

    def __init__(self, bootstrap: str, group: str, store: Store) -> None:
        # As a member would ask, without being one: librdkafka's admin request for the same aborts the
        # process where a broker goes away under it (librdkafka 4605).
        self._asker = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}, logger=logger
        )
        self._store = store
        self.processed: Mapping[TopicPartition, Processed] = {}

    def poll(self) -> None:
        """Ask once.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        held = [view.topic for views in self._store.now.views.values() for view in views.values()]
        if not held:
            return
        try:
            places = self._asker.committed(
                [KafkaTopicPartition(*topic) for topic in held], timeout=_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            raise LogUnavailable(f"asking for the writers' offsets: {error}") from error
        finally:
            self._asker.poll(0)  # what the client has to say waits in its queue until then
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
