"""Asks, once a second, whether a topic still is the stream's: a re-created one numbers other records alike."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from seamark.stream.log import Cluster
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.store import Store
from seamark.tail_cache.tail import Tail

logger = logging.getLogger(__name__)


class TopicIdentity:
    """The topics of what is held. For one thread."""

    def __init__(self, cluster: Cluster, followers: Sequence[Follower], tail: Tail, store: Store) -> None:
        self._cluster = cluster
        self._followers = followers
        self._tail = tail
        self._store = store
        self._widened: set[str] = set()

    def poll(self) -> None:
        """Ask once.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        for follower in self._followers:
            self._ask(follower)

    def _ask(self, follower: Follower) -> None:
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
