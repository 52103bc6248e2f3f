"""The loop: poll, observe, flush, restore. Owns when; `TableWriter` owns what.

Two threads: this one polls and folds, the other commits (`flight.py`). A table has at most one
batch in flight.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seamark.consumer_writer.commit_loop import Ended, Outcome, RetryPolicy
from seamark.consumer_writer.flight import CommitThread, Flight
from seamark.consumer_writer.source import Source
from seamark.consumer_writer.table_writer import Start, TableWriter
from seamark.lake.errors import CatalogUnavailable
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import Run, TopicPartition
from seamark.telemetry.metrics import WriterMetrics

logger = logging.getLogger(__name__)

REVOKE_SECONDS = 5.0
"""How long a revoke waits, for all batches in flight together, before they are dropped whole."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When a batch is sealed: after `seconds` with anything to commit, or at `bytes` buffered."""

    seconds: float = 60.0
    # Sorting and encoding hold a batch several times over: docs/adr/0008-flush-at-36-mib.md.
    bytes: int = 36 * 1024 * 1024


@dataclass(slots=True)
class _Lane:
    """One table and where it stands."""

    table: TableWriter
    pending_since: float | None = None
    flight: Flight | None = None
    restore: set[TopicPartition] = field(default_factory=set)
    """Partitions whose position was thrown away and that must be taken over anew."""
    restore_at: float = 0.0
    paused: set[TopicPartition] = field(default_factory=set)
    """Paused, because the buffer holds twice what a flush takes."""
    stuck: set[TopicPartition] = field(default_factory=set)
    """Paused behind a record that this build cannot resolve."""


class Writer:
    """Reads the topics of its tables and commits them. A `kafka.Listener`."""

    def __init__(
        self,
        tables: Mapping[str, TableWriter],
        flush: FlushPolicy,
        retry: RetryPolicy,
        metrics: WriterMetrics,
        poll_records: int = 20_000,
        stop_seconds: float = 30.0,
        revoke_seconds: float = REVOKE_SECONDS,
    ) -> None:
        """`tables`: by topic."""
        lanes = {id(table): _Lane(table) for table in tables.values()}
        self._lanes = list(lanes.values())
        self._lane_of = {topic: lanes[id(table)] for topic, table in tables.items()}
        self._flush = flush
        self._metrics = metrics
        self._poll_records = poll_records
        self._stop_seconds = stop_seconds
        self._revoke_seconds = revoke_seconds
        self._commits = CommitThread(retry, metrics)
        self._published_at = time.monotonic()

    # Rebalances: called inside Source.poll, on this thread.

    def assigned(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Start]:
        starts: dict[TopicPartition, Start] = {}
        for lane, wanted in self._by_lane(partitions):
            try:
                starts.update(lane.table.assign(wanted))
            except (CatalogUnavailable, LogUnavailable) as error:
                logger.warning("assignment waits", extra={"error": str(error)})
                lane.restore.update(wanted)
            lane.paused.difference_update(wanted)
        logger.info("assigned", extra={"partitions": _named(partitions)})
        return starts

    def revoked(self, partitions: Sequence[TopicPartition], lost: bool) -> None:
        logger.info("lost" if lost else "revoked", extra={"partitions": _named(partitions)})
        grouped = self._by_lane(partitions)
        touched = [
            lane
            for lane, gone in grouped
            if lane.flight is not None and lane.flight.partitions.intersection(gone)
        ]
        if not lost:
            self._resolve(touched, time.monotonic() + self._revoke_seconds)
        for lane in touched:
            if lane.flight is not None:
                self._drop(lane)
        for lane, gone in grouped:
            lane.table.release(gone)
            lane.restore.difference_update(gone)
            lane.stuck.difference_update(gone)
            lane.paused.difference_update(gone)

    def _by_lane(self, partitions: Sequence[TopicPartition]) -> list[tuple[_Lane, list[TopicPartition]]]:
        grouped = [
            (lane, [where for where in partitions if self._lane_of[where.topic] is lane])
            for lane in self._lanes
        ]
        return [(lane, mine) for lane, mine in grouped if mine]

    # The loop

    def run(self, source: Source, stop: threading.Event) -> None:
        """Until `stop` is set; then what is buffered is committed, within the stop time.

        Raises:
            Stopped: only an operator can say how to go on.
        """
        try:
            while not stop.is_set():
                self._step(source)
            self._finish()
            self._publish(source, force=True)
        finally:
            for lane in self._lanes:
                if lane.flight is not None:
                    lane.flight.abandon()
                    lane.flight = None
            self._commits.close()
            source.close()

    def _step(self, source: Source) -> None:
        runs = source.poll(self._poll_records, 0.1)
        for lane in self._lanes:
            mine = [run for run in runs if self._lane_of[run.where.topic] is lane]
            if mine:
                self._observe(lane, source, mine)
            self._harvest(lane)
            self._restore(lane, source)
            if lane.flight is None and self._due(lane):
                self._launch(lane)
            self._limit(lane, source)
        self._publish(source)

    def _observe(self, lane: _Lane, source: Source, runs: list[Run]) -> None:
        for paused in lane.table.observe(runs):
            if paused.where not in lane.stuck:
                lane.stuck.add(paused.where)
                logger.error(
                    "partition paused: schema id cannot be resolved by this build",
                    extra={
                        "partition": _named([paused.where]),
                        "offset": paused.offset,
                        "schema_id": paused.schema_id,
                    },
                )
            source.pause([paused.where])

    def _due(self, lane: _Lane) -> bool:
        if not lane.table.pending:
            return False
        if lane.pending_since is None:
            lane.pending_since = time.monotonic()
        if lane.table.buffered_bytes >= self._flush.bytes:
            return True
        return time.monotonic() - lane.pending_since >= self._flush.seconds

    def _launch(self, lane: _Lane) -> None:
        lane.flight = self._commits.begin(lane.table)
        if lane.flight is not None:
            lane.pending_since = None

    def _harvest(self, lane: _Lane) -> None:
        if lane.flight is not None and (ended := lane.flight.ended()) is not None:
            self._settle(lane, ended)

    def _resolve(self, lanes: Sequence[_Lane], deadline: float) -> None:
        """Wait for the batches in flight until `deadline`; those not ended by then stay in flight."""
        for lane in lanes:
            if lane.flight is not None:
                ended = lane.flight.ended(max(0.0, deadline - time.monotonic()))
                if ended is not None:
                    self._settle(lane, ended)

    def _settle(self, lane: _Lane, ended: Ended) -> None:
        lane.flight = None
        self._commits.tell(lane.table.kind.value, ended)
        if ended.outcome is not Outcome.LANDED:
            self._throw_away(lane)

    def _drop(self, lane: _Lane) -> None:
        """Give the batch in flight up whole; an attempt of it in the air may still land."""
        assert lane.flight is not None
        lane.flight.abandon()
        lane.flight = None
        self._throw_away(lane)

    def _throw_away(self, lane: _Lane) -> None:
        """All that was read is void: state and position come from the table again."""
        held = lane.table.assigned
        lane.table.release(held)
        lane.restore.update(held)
        lane.restore_at = 0.0

    def _restore(self, lane: _Lane, source: Source) -> None:
        if not lane.restore or time.monotonic() < lane.restore_at:
            return
        try:
            starts = lane.table.assign(sorted(lane.restore))
        except (CatalogUnavailable, LogUnavailable) as error:
            logger.warning("restore waits", extra={"table": lane.table.kind.value, "error": str(error)})
            lane.restore_at = time.monotonic() + _RETRY_SECONDS
            return
        lane.restore.clear()
        lane.stuck.difference_update(starts)
        lane.paused.difference_update(starts)
        source.begin(starts)

    def _limit(self, lane: _Lane, source: Source) -> None:
        held = lane.table.buffered_bytes
        name = lane.table.kind.value
        self._metrics.buffer_bytes.labels(name).set(held)
        self._metrics.buffer_rows.labels(name).set(lane.table.buffered_rows)
        in_flight = lane.flight.bytes if lane.flight is not None else 0
        full = held + in_flight > 2 * self._flush.bytes
        wanted = set(lane.table.assigned) - lane.stuck if full else set()
        source.pause(sorted(wanted - lane.paused))
        source.resume(sorted(lane.paused - wanted))
        if bool(wanted) != bool(lane.paused):
            logger.info(
                "reading pauses, the buffer is full" if wanted else "reading goes on",
                extra={"table": name, "buffered_bytes": held, "in_flight_bytes": in_flight},
            )
        lane.paused = wanted

    def _publish(self, source: Source, force: bool = False) -> None:
        """Buffered positions as group offsets, once a second, with the tiers read."""
        now = time.monotonic()
        if not force and now - self._published_at < 1.0:
            return
        self._published_at = now
        positions = {
            where: lane.table.position(where) for lane in self._lanes for where in lane.table.assigned
        }
        source.publish_positions(positions, '{"admitted_tiers":[1,2,3]}')
        for lane in self._lanes:
            for where in lane.table.assigned:
                self._metrics.buffered_offset.labels(
                    lane.table.kind.value, where.topic, str(where.partition)
                ).set(positions[where])

    def _finish(self) -> None:
        """Commit what is buffered; what does not land in time is read again at the next start."""
        deadline = time.monotonic() + self._stop_seconds
        self._resolve(self._lanes, deadline)
        if time.monotonic() < deadline:  # an attempt begun later would be waited for all the same
            for lane in self._lanes:
                if lane.flight is None and not lane.restore:
                    self._launch(lane)
            self._resolve(self._lanes, deadline)
        for lane in self._lanes:
            if lane.flight is not None or lane.table.pending:
                logger.warning("stopped before the commit ended", extra={"table": lane.table.kind.value})


def _named(partitions: Sequence[TopicPartition]) -> list[str]:
    return [f"{where.topic}-{where.partition}" for where in partitions]
