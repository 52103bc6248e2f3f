"""Asks, four times a second, where the logs end.

A client knows the end as of its last fetch: of what is not read, or has no leader, that would stand still
and look like the end of an idle partition. Must not know topics' ids: of a topic that was made anew, an end
below what was read says nothing, and `identity.py` stops the others within a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from seamark.lake.checkpoint import StreamPartition
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Cluster
from seamark.tail_cache.partition import END_COUNTS
from seamark.tail_cache.store import Store, Views
from seamark.tail_cache.tail import Tail

logger = logging.getLogger(__name__)


class LogEnds:
    """The logs of what is held. For one thread."""

    def __init__(
        self,
        cluster: Cluster,
        tail: Tail,
        store: Store,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._cluster = cluster
        self._tail = tail
        self._store = store
        self._now_us = now_us
        self._silent: set[str] = set()
        """Topics that did not answer."""

    def poll(self) -> None:
        """Ask once. A topic whose leaders do not all answer has no ends now."""
        for kind, views in self._store.now.views.items():
            for topic, reached in _by_topic(views).items():
                asked_us = self._now_us()
                if ends := self._ask(topic, reached):
                    self._tail.submit(partial(self._tail.hear, kind, ends, asked_us))

    def _ask(self, topic: str, reached: Mapping[StreamPartition, int]) -> dict[StreamPartition, int]:
        """Ends of the logs that hold what was read of them."""
        try:
            ends = self._cluster.ends(topic, [where.partition for where in reached])
        except LogUnavailable as error:
            if topic not in self._silent:
                logger.warning("the logs' ends are not known", extra={"topic": topic, "error": str(error)})
            self._silent.add(topic)
            return {}
        self._silent.discard(topic)
        return {
            where: ends[where.partition]
            for where, hi in reached.items()
            if ends.get(where.partition, -1) >= hi
        }


def _by_topic(views: Views) -> dict[str, dict[StreamPartition, int]]:
    """How far was read, of partitions whose end counts."""
    found: dict[str, dict[StreamPartition, int]] = {}
    for where, view in views.items():
        if view.stopped in END_COUNTS:
            found.setdefault(view.topic.topic, {})[where] = view.hi
    return found
