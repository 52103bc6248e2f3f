"""How old what waits in the log is: for the operator, for alarms, for answers' headers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from seamark.lake.checkpoint import StreamPartition
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.tail_cache.follow import Follower
from seamark.tail_cache.partition import PartitionTail
from seamark.tail_cache.spill import Spilled
from seamark.tail_cache.store import Store
from seamark.tail_cache.writers import Processed, WritersGroup
from seamark.telemetry.metrics import TailMetrics


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
        self, metrics: TailMetrics, store: Store, followers: Sequence[Follower], writers: WritersGroup
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._followers = {follower.kind: follower for follower in followers}
        self._writers = writers
        self._labels: set[tuple[str, ...]] = set()
        self._tiers: dict[tuple[RecordKind, StreamPartition], int] = {}

    def export(self) -> None:
        """Say how things are now."""
        metrics = self._metrics
        now_us = time.time_ns() // 1000
        processed = self._writers.processed
        labels = set[tuple[str, ...]]()
        rows = dict.fromkeys(RecordKind, 0)
        memory = dict.fromkeys(RecordKind, 0)
        spilled = dict.fromkeys(RecordKind, 0)
        for kind, tail in self._store:
            tier = self._tier(kind, tail.where)
            place = (kind.value, str(tail.where.stream_id), str(tail.where.partition), str(tier))
            labels.add(place)
            lag = lag_of(tail, processed.get(tail.topic), tier, now_us)
            for gauge, value in (
                (metrics.end_offset, max(tail.end, tail.hi)),
                (metrics.checkpoint_offset, tail.committed.next),
                (metrics.processed_offset, lag.processed_offset),
                (metrics.committed_age_seconds, lag.committed_age_seconds),
                (metrics.processed_age_seconds, lag.processed_age_seconds),
                (metrics.admitted, lag.admitted),
                (metrics.low_offset, tail.lo),
                (metrics.high_offset, tail.hi),
                (metrics.reading, float(tail.stopped is None)),
            ):
                gauge.labels(*place).set(value)
            for block in tail.blocks:
                rows[kind] += block.rows.count
                memory[kind] += block.rows.memory_bytes
                spilled[kind] += block.rows.file_bytes if isinstance(block.rows, Spilled) else 0
        for kind in RecordKind:
            metrics.rows.labels(kind.value).set(rows[kind])
            metrics.memory_bytes.labels(kind.value).set(memory[kind])
            metrics.spilled_bytes.labels(kind.value).set(spilled[kind])
            loaded_at = self._followers[kind].loaded_at
            if loaded_at is not None:
                metrics.catalog_age_seconds.labels(kind.value).set(time.monotonic() - loaded_at)
        # Series of partitions that are held no more would stand still for ever.
        for gone in self._labels - labels:
            for gauge in metrics.by_partition:
                gauge.remove(*gone)
        self._labels = labels

    def _tier(self, kind: RecordKind, where: StreamPartition) -> int:
        if (kind, where) not in self._tiers:
            routing = Routing.from_json(self._followers[kind].streams[where.stream_id].routing)
            self._tiers[kind, where] = routing.tier_of(where.partition)
        return self._tiers[kind, where]
