"""How old what waits in the log is: for the operator, for alarms, for answers' headers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from prometheus_client import Gauge

from seamark.lake.checkpoint import StreamPartition
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.stream.log import TopicPartition
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.partition import PartitionTail
from seamark.tail_cache.spill import Spilled
from seamark.tail_cache.store import Store
from seamark.tail_cache.writers import Processed
from seamark.telemetry.metrics import TailMetrics

Place = tuple[str, str, str, str]
"""Labels: table, stream, partition, tier."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Of one partition. Ages in seconds, NaN where unknown."""

    committed_age_seconds: float
    processed_offset: float
    processed_age_seconds: float
    admitted: float


def lag_of(tail: PartitionTail, processed: Processed | None, tier: int, now_us: int) -> Lag:
    """How far table and writers are behind the log's end, by append times.

    A record below H is processed, whatever the group says. Where the tail has not seen the
    record, an age is that of an earlier one: too great, never too small.
    """
    end = max(tail.end, tail.hi)
    committed = tail.committed.next

    def age_seconds(offset: int) -> float:
        if offset >= end:
            return 0.0
        appended_us = tail.appends.at(offset)
        if appended_us is None:
            appended_us = tail.committed.append_us
        return max(0.0, (now_us - appended_us) / 1e6)

    if processed is None:
        return Lag(age_seconds(committed), math.nan, math.nan, math.nan)
    reached = max(processed.offset, committed)
    admitted = math.nan if processed.tiers is None else float(tier in processed.tiers)
    return Lag(age_seconds(committed), float(reached), age_seconds(reached), admitted)


class LagExport:
    """Sets the gauges. Called in the tail's thread, which alone sees append times."""

    def __init__(
        self,
        metrics: TailMetrics,
        store: Store,
        followers: Sequence[Follower],
        processed: Callable[[], Mapping[TopicPartition, Processed]],
    ) -> None:
        """`processed`: what the writers' group said last."""
        self._metrics = metrics
        self._store = store
        self._followers = {follower.kind: follower for follower in followers}
        self._processed = processed
        self._shown: dict[Gauge, Set[Place]] = {}
        self._tiers: dict[tuple[RecordKind, StreamPartition], int] = {}

    def export(self) -> None:
        """Say how things are now."""
        series: dict[Gauge, dict[Place, float]] = {gauge: {} for gauge in self._metrics.by_partition}
        now_us, processed = time.time_ns() // 1000, self._processed()
        for kind, tail in self._store:
            tier = self._tier(kind, tail.where)
            lag = lag_of(tail, processed.get(tail.topic), tier, now_us)
            place = (kind.value, str(tail.where.stream_id), str(tail.where.partition), str(tier))
            for gauge, value in self._of_partition(tail, lag):
                series[gauge][place] = value
        for kind, follower in self._followers.items():
            for where in follower.refused.keys() - self._store.of(kind).keys():
                place = (kind.value, str(where.stream_id), str(where.partition), str(self._tier(kind, where)))
                series[self._metrics.reading][place] = 0.0
        for gauge, now in series.items():
            for place, value in now.items():
                gauge.labels(*place).set(value)
            # Series of partitions that are held no more would stand still for ever.
            for gone in self._shown.get(gauge, set()) - now.keys():
                gauge.remove(*gone)
            self._shown[gauge] = now.keys()
        for kind in RecordKind:
            self._of_table(kind)

    def _of_partition(self, tail: PartitionTail, lag: Lag) -> Sequence[tuple[Gauge, float]]:
        metrics = self._metrics
        return (
            (metrics.end_offset, max(tail.end, tail.hi)),
            (metrics.checkpoint_offset, tail.committed.next),
            (metrics.processed_offset, lag.processed_offset),
            (metrics.committed_age_seconds, lag.committed_age_seconds),
            (metrics.processed_age_seconds, lag.processed_age_seconds),
            (metrics.admitted, lag.admitted),
            (metrics.low_offset, tail.lo),
            (metrics.high_offset, tail.hi),
            (metrics.reading, float(tail.stopped is None)),
        )

    def _of_table(self, kind: RecordKind) -> None:
        rows = [block.rows for tail in self._store.of(kind).values() for block in tail.blocks]
        self._metrics.rows.labels(kind.value).set(sum(one.count for one in rows))
        self._metrics.memory_bytes.labels(kind.value).set(sum(one.memory_bytes for one in rows))
        spilled = sum(one.file_bytes for one in rows if isinstance(one, Spilled))
        self._metrics.spilled_bytes.labels(kind.value).set(spilled)
        if kind in self._followers and (loaded_at := self._followers[kind].loaded_at) is not None:
            self._metrics.catalog_age_seconds.labels(kind.value).set(time.monotonic() - loaded_at)

    def _tier(self, kind: RecordKind, where: StreamPartition) -> int:
        if (kind, where) not in self._tiers:
            routing = Routing.from_json(self._followers[kind].streams[where.stream_id].routing)
            self._tiers[kind, where] = routing.tier_of(where.partition)
        return self._tiers[kind, where]
