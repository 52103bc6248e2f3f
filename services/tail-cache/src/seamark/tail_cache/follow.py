"""Follows one table: begins its partitions at H, tells the tail of each new H, lets go behind it.

The table alone says what is held. Where the catalog does not answer, all that is held stays.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from seamark.lake.assignment import check_log, find_logs, place_of
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CheckpointInvalid, TableMissing
from seamark.lake.states import StateStore, restore
from seamark.lake.streams import Stream
from seamark.lake.view import LakeTable, TableView
from seamark.market.schema import RecordKind
from seamark.stream.errors import Stopped
from seamark.stream.log import Cluster, TopicPartition
from seamark.tail_cache.decide import Mine, decide
from seamark.tail_cache.source import Beginning
from seamark.tail_cache.store import Store
from seamark.tail_cache.tail import Tail
from seamark.telemetry.metrics import TailMetrics

logger = logging.getLogger(__name__)


class Follower:
    """One table's side of the tail. For one thread; `streams` and `refused` are for all."""

    def __init__(
        self,
        kind: RecordKind,
        table: LakeTable,
        states: StateStore,
        cluster: Cluster,
        cluster_id: str,
        mine: Mine,
        retention_seconds: float,
        tail: Tail,
        store: Store,
        metrics: TailMetrics,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`retention_seconds`: rows stay for so long after a commit that holds them was first seen."""
        self.kind = kind
        self._table = table
        self._states = states
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._mine = mine
        self._retention_seconds = retention_seconds
        self._tail = tail
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._now_us = now_us
        self._uuid: str | None = None
        self._horizons: deque[tuple[float, dict[StreamPartition, int]]] = deque()
        self._closed: dict[StreamPartition, float] = {}
        self._said: dict[object, str] = {}
        self.streams: Mapping[int, Stream] = {}
        """The registry as of the last load."""
        self.refused: Mapping[StreamPartition, str] = {}
        """Partitions that are to be held and cannot be, and why."""
        self.settled = False
        """All that this replica is to hold is held, or refused."""
        self.loaded_at: float | None = None

    def poll(self) -> None:
        """Load the table and have the tail do what it asks.

        Raises:
            CatalogUnavailable, LogUnavailable: all stays as it is; poll again.
            Stopped: Kafka refuses what no waiting mends.
        """
        try:
            view = self._table.load()
            reason = view.rolled_back() or self._replaced(view)
            foreign = view.foreign(view.head_id)
            self._metrics.table_unusable.labels(self.kind.value).set(reason is not None or bool(foreign))
            if foreign:
                self._say("foreign", "foreign snapshot", str(foreign))
            if reason is not None:
                self._say("table", "table not followed", reason)
                self.settled = True
                return
            self._follow(view)
        except (CheckpointInvalid, TableMissing) as error:
            self._metrics.table_unusable.labels(self.kind.value).set(1)
            self._say("table", "table not followed", str(error))
            self.settled = True
            return
        finally:
            self._let_go()
        self._said.pop("table", None)
        self.loaded_at = self._clock()

    def _replaced(self, view: TableView) -> str | None:
        self._uuid = self._uuid or view.uuid
        if view.uuid != self._uuid:
            return (
                f"uuid was {view.uuid}, must be {self._uuid}: the table was replaced; restart the tail-cache"
            )
        return None

    def _follow(self, view: TableView) -> None:
        self.streams = view.streams
        held = self._store.now.views[self.kind]
        points = {where: view.checkpoints[where] for where in held if where in view.checkpoints}
        if points:
            self._tail.submit(partial(self._tail.commit, self.kind, points))
        moved = {
            where: point.next for where, point in points.items() if point.next != held[where].committed.next
        }
        if moved:
            self._horizons.append((self._clock() + self._retention_seconds, moved))
        decision = decide(view.streams, view.checkpoints, held, self._mine, self._cluster_id)
        for where in decision.close:
            self._closed[where] = self._clock() + self._retention_seconds
            self._tail.submit(partial(self._tail.close, self.kind, where))
        self._begin(view, decision.begin)

    def _let_go(self) -> None:
        now = self._clock()
        while self._horizons and self._horizons[0][0] <= now:
            self._tail.submit(partial(self._tail.evict, self.kind, self._horizons.popleft()[1]))
        for where in [where for where, due in self._closed.items() if due <= now]:
            del self._closed[where]
            self._tail.submit(partial(self._tail.forget, self.kind, where))

    def _begin(self, view: TableView, wanted: Mapping[StreamPartition, TopicPartition]) -> None:
        refused: dict[StreamPartition, str] = {}
        placed = {}
        for where, topic in wanted.items():
            try:
                placed[place_of(view, self.kind.value, self._cluster, topic)] = topic
            except Stopped as error:
                refused[where] = str(error)
        states = restore(self._table, view, self._states, self.kind, list(placed), self._note_rebuild)
        asked_us = self._now_us()
        logs = find_logs(self._cluster, {topic: view.checkpoints[where] for where, topic in placed.items()})
        beginnings = []
        for where, topic in placed.items():
            point, bounds = view.checkpoints[where], logs[topic].bounds
            try:
                check_log(where, topic, point, logs[topic])
            except Stopped as error:
                refused[where] = str(error)
                # What was read behind H is not in the log any more.
                self._tail.submit(partial(self._tail.drop, self.kind, where))
                continue
            if bounds.start > point.next:
                logger.error(
                    "the log begins behind H: records between are lost",
                    extra={"partition": str(where), "first": point.next, "next": bounds.start},
                )
            first = max(point.next, bounds.start)
            beginnings.append(Beginning(where, topic, first, states[where], point, bounds.end, asked_us))
        if beginnings:
            self._tail.submit(partial(self._tail.begin, self.kind, beginnings))
        for where, reason in refused.items():
            self._say(where, "partition cannot be read", reason)
        for where in placed:
            if where not in refused:
                self._said.pop(where, None)
        self.refused = refused
        self.settled = not beginnings

    def _note_rebuild(self, where: StreamPartition, reason: str) -> None:
        logger.warning("state rebuilt from history", extra={"partition": str(where), "reason": reason})

    def _say(self, about: object, message: str, reason: str) -> None:
        """Once for each reason, not once a second."""
        if self._said.get(about) != reason:
            self._said[about] = reason
            logger.error(message, extra={"table": self.kind.value, "about": str(about), "reason": reason})
