"""One table's side of the writer: observe records, seal batches, attempt commits, restore.

A synchronous state machine without threads, timers or retries of its own: the service's
loop drives it, and the model test drives it through every interleaving.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from seamark.consumer_writer.batch import Batch, Range, batch_id
from seamark.consumer_writer.decide import Fenced, Halt, Landed, Stage, decide, summary_of
from seamark.consumer_writer.errors import Stopped
from seamark.consumer_writer.expiry import ExpiryPolicy, expirable
from seamark.consumer_writer.log import Bounds, Cluster, DeadLetters, Run, TopicPartition
from seamark.consumer_writer.rows import Positions, records_of
from seamark.lake import checkpoint
from seamark.lake.checkpoint import Counters, ExcludedRange, StreamPartition
from seamark.lake.states import StateStore, restore
from seamark.lake.streams import Stream
from seamark.lake.view import Change, LakeTable, TableView
from seamark.market.schema import RecordKind
from seamark.sequencing.fold import append_times, fold
from seamark.sequencing.state import PartitionState, dump
from seamark.stream.decode import Decoder

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Partition:
    """What was read of one partition behind the last sealed batch."""

    where: StreamPartition
    topic: TopicPartition
    first: int
    """Where the next batch begins."""
    position: int
    """Offset of the next record to observe."""
    state: PartitionState
    leader_epoch: int
    counters: Counters = Counters()
    rows: list[pl.DataFrame] = field(default_factory=list)
    bytes: int = 0
    """Held by `rows`."""
    blocked: bool = False
    """Nothing is read behind a record that this build cannot resolve."""
    lost: list[ExcludedRange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading a partition begins: H, with the leader epoch of the record below it."""

    offset: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class Paused:
    """A record whose schema id this build cannot resolve: nothing behind it may be read."""

    where: TopicPartition
    offset: int
    schema_id: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch made ready on one loaded view: data files and state file are written."""

    batch: Batch
    view: TableView
    change: Change
    number: int


class TableWriter:
    """Writes the records of one kind into one table.

    Methods raise `CatalogUnavailable` where the lake does not answer and `Stopped` where
    only an operator can say how to go on. Neither loses anything: what is not in the table is
    still in the log.
    """

    def __init__(
        self,
        kind: RecordKind,
        table: LakeTable,
        store: StateStore,
        cluster: Cluster,
        decoder: Decoder,
        dead_letters: DeadLetters,
        writer_id: str,
        expiry: ExpiryPolicy,
        on_log_start: Literal["stop", "lost"] = "stop",
    ) -> None:
        self.kind = kind
        self._table = table
        self._store = store
        self._cluster = cluster
        self._decoder = decoder
        self._dead_letters = dead_letters
        self._writer_id = writer_id
        self._expiry = expiry
        self._on_log_start = on_log_start
        self._uuid: str | None = None
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._attempts = 0
        self._written: tuple[tuple[str, str], Sequence[object]] | None = None

    # Assignment

    def assign(self, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, Start]:
        """Take partitions over at H, with state(H). Positions already held are thrown away.

        Raises:
            Stopped: no stream for the topic, another topic id, H outside the log.
        """
        view = self._table.load()
        self._uuid = self._uuid or view.uuid
        if view.uuid != self._uuid:
            raise Stopped(
                f"table {self.kind.value}: uuid was {view.uuid}, must be {self._uuid}; restart the writer"
            )
        if (reason := view.rolled_back()) is not None:
            raise Stopped(
                f"table {self.kind.value}: rolled_back: {reason}. Way on: adopt --at-snapshot {view.head_id}"
            )
        for snapshot_id in view.foreign():
            logger.error("foreign snapshot", extra={"table": self.kind.value, "snapshot": snapshot_id})
        places = {self._place(view, topic): topic for topic in wanted}
        states = restore(self._table, view, self._store, self.kind, list(places), self._note_rebuild)
        starts = {}
        for where, topic in places.items():
            point = view.checkpoints[where]
            part = _Partition(where, topic, point.next, point.next, states[where], point.leader_epoch)
            self._check_bounds(part, self._cluster.bounds(topic), view.revision)
            self._partitions[topic] = part
            starts[topic] = Start(part.position, point.leader_epoch if part.position == point.next else -1)
        return starts

    def _place(self, view: TableView, topic: TopicPartition) -> StreamPartition:
        stream = view.stream_of(topic.topic)
        if stream is None:
            raise Stopped(
                f"table {self.kind.value} has no open stream for topic {topic.topic}. Way on: adopt {topic.topic}"
            )
        self._check_topic(stream)
        if topic.partition >= stream.partitions:
            raise Stopped(
                f"topic {topic.topic}: partition {topic.partition} is new, stream {stream.stream_id} has "
                f"{stream.partitions}. Way on: adopt {topic.topic} --succeeds {stream.stream_id}"
            )
        where = StreamPartition(stream.stream_id, topic.partition)
        if where not in view.checkpoints:
            raise Stopped(f"table {self.kind.value} has no checkpoint property for {where}; it never means 0")
        return where

    def _check_topic(self, stream: Stream) -> None:
        actual = self._cluster.topic_id(stream.topic)
        if actual != stream.topic_id:
            raise Stopped(
                f"topic {stream.topic}: id was {actual}, stream {stream.stream_id} has {stream.topic_id}: the topic "
                f"was re-created. Way on: adopt {stream.topic} --succeeds {stream.stream_id} --lost"
            )

    def _check_bounds(self, part: _Partition, bounds: Bounds, revision: int) -> None:
        if part.position > bounds.end:
            raise Stopped(
                f"{part.topic.topic}-{part.topic.partition}: H was {part.position}, the log ends at {bounds.end}: "
                f"the log was truncated. Way on: adopt {part.topic.topic} --succeeds {part.where.stream_id}"
            )
        if part.position < bounds.start:
            if self._on_log_start == "stop":
                raise Stopped(
                    f"{part.topic.topic}-{part.topic.partition}: H was {part.position}, the log begins at "
                    f"{bounds.start}. Way on: on_log_start=lost records [{part.position}, {bounds.start}) as lost"
                )
            gone = ExcludedRange(part.where, part.position, bounds.start, "LOST", revision + 1)
            logger.error("records lost: the log begins behind H", extra={"range": str(gone)})
            part.lost.append(gone)
            part.counters += Counters(lost=bounds.start - part.position)
            part.position = bounds.start

    def _note_rebuild(self, where: StreamPartition, reason: str) -> None:
        logger.warning("state rebuilt from history", extra={"partition": str(where), "reason": reason})

    def release(self, gone: Iterable[TopicPartition]) -> None:
        """Give partitions up: what was read of them and not committed is forgotten."""
        for topic in gone:
            self._partitions.pop(topic, None)

    @property
    def assigned(self) -> tuple[TopicPartition, ...]:
        return tuple(self._partitions)

    def position(self, topic: TopicPartition) -> int:
        """Offset behind the last record decoded and buffered."""
        return self._partitions[topic].position

    # Reading

    def observe(self, runs: Sequence[Run]) -> list[Paused]:
        """Decode and judge records; give back the partitions that must not be read on.

        Records of partitions not assigned, and offsets already observed, are ignored: a
        replay is not a duplicate.

        Raises:
            Stopped: an offset is missing from the middle of a log.
        """
        fresh = [run for run in map(self._unseen, runs) if run is not None]
        if not fresh:
            return []
        decoded = self._decoder.decode([value for run in fresh for value in run.values])
        paused: list[Paused] = []
        base = 0
        for run in fresh:
            length = len(run.offsets)
            judged = min(length, max(0, decoded.length - base))
            low, high = np.searchsorted(decoded.index, (base, base + judged))
            rejects = {
                reject.index - base: reject.reason
                for reject in decoded.rejects
                if base <= reject.index < base + judged
            }
            self._take(run, judged, decoded.rows[low:high], decoded.index[low:high] - base, rejects)
            if judged < length:
                rest = self._decode_rest(run, judged)
                if rest is not None:
                    paused.append(rest)
            base += length
        return paused

    def _decode_rest(self, run: Run, judged: int) -> Paused | None:
        """What stands behind an id that could not be resolved: its own verdict, run by run."""
        rest = run.behind(judged)
        decoded = self._decoder.decode(rest.values)
        rejects = {reject.index: reject.reason for reject in decoded.rejects}
        self._take(rest, decoded.length, decoded.rows, decoded.index, rejects)
        if decoded.unresolved is None:
            return None
        self._partitions[run.where].blocked = True
        return Paused(run.where, int(rest.offsets[decoded.length]), decoded.unresolved)

    def _unseen(self, run: Run) -> Run | None:
        part = self._partitions.get(run.where)
        if part is None or part.blocked or not len(run.offsets) or run.offsets[-1] < part.position:
            return None
        if run.offsets[0] < part.position:
            run = run.behind(int(np.searchsorted(run.offsets, part.position)))
        expected = part.position
        count = len(run.offsets)
        if run.offsets[0] != expected or run.offsets[-1] - run.offsets[0] != count - 1:
            raise Stopped(
                f"{run.where.topic}-{run.where.partition}: offsets {run.offsets[0]} to {run.offsets[-1]} came as "
                f"{count} records after {expected - 1}: they must be dense (no transactions, no compaction)"
            )
        return run

    def _take(
        self,
        run: Run,
        length: int,
        rows: pl.DataFrame,
        index: np.ndarray[tuple[int], np.dtype[np.int64]],
        rejects: Mapping[int, str],
    ) -> None:
        if not length:
            return
        part = self._partitions[run.where]
        running, state = append_times(part.state, run.append_us[:length])
        epochs = None
        accepted = len(rows)
        positions = Positions(run.offsets[index], running[index])
        if self.kind.sequenced and accepted:
            verdict = fold(state, self.kind, records_of(rows))
            state, epochs = verdict.state, verdict.epochs
            accepted = int(verdict.accepted.sum())
            if accepted < len(rows):
                rows = rows.filter(pl.Series(verdict.accepted))
                positions = positions.where(verdict.accepted)
                epochs = epochs[verdict.accepted]
        if accepted:
            frame = positions.beside(rows, epochs)
            part.rows.append(frame)
            part.bytes += int(frame.estimated_size())
        if rejects:
            self._dead_letters.send(run, rejects, part.where.stream_id)
        part.counters += Counters(
            written=accepted, duplicate=length - accepted - len(rejects), dlq=len(rejects)
        )
        part.state = state
        part.position = int(run.offsets[length - 1]) + 1
        part.leader_epoch = run.leader_epoch

    @property
    def buffered_rows(self) -> int:
        return sum(len(frame) for part in self._partitions.values() for frame in part.rows)

    @property
    def buffered_bytes(self) -> int:
        return sum(part.bytes for part in self._partitions.values())

    @property
    def pending(self) -> bool:
        """Whether anything was decided since the last batch."""
        return any(part.position > part.first for part in self._partitions.values())

    # Committing

    def seal(self) -> Batch | None:
        """Freeze all that was observed into a batch; None if there is nothing new."""
        parts = [part for part in self._partitions.values() if part.position > part.first]
        if not parts:
            return None
        ranges = {
            part.where: Range(
                part.first, part.position, part.leader_epoch, part.state.append_us, part.counters, part.state
            )
            for part in parts
        }
        batch = Batch(
            batch_id=batch_id(ranges, self._writer_id),
            kind=self.kind,
            ranges=ranges,
            topics={part.where.stream_id: part.topic.topic for part in parts},
            frames={part.where: tuple(part.rows) for part in parts},
            lost=tuple(gone for part in parts for gone in part.lost),
        )
        for part in parts:
            part.first, part.counters = part.position, Counters()
            part.rows, part.bytes, part.lost = [], 0, []
        return batch

    def prepare(self, batch: Batch, now_ms: int) -> Attempt | Landed | Fenced:
        """First half of an attempt: load the table afresh, decide, write data and state files.

        Raises:
            Stopped: the table or a topic is not what it was.
            CatalogUnavailable: nothing was changed; attempt again.
        """
        self._dead_letters.flush()
        view = self._table.load()
        self._attempts += 1
        decision = decide(view, batch, self._attempts, self._uuid or view.uuid)
        if isinstance(decision, Halt):
            raise Stopped(f"table {self.kind.value}: {decision.reason}")
        if not isinstance(decision, Stage):
            return decision
        for stream_id in batch.topics:
            self._check_topic(view.streams[stream_id])
        files = self._files(view, batch)
        state_name = next(iter(decision.moved.values())).state_name(view.uuid)
        self._store.put(state_name, dump({str(where): r.state for where, r in batch.ranges.items()}))
        return Attempt(batch, view, self._change(view, batch, decision, files, now_ms), self._attempts)

    def _files(self, view: TableView, batch: Batch) -> Sequence[object]:
        # An attempt that failed left its files behind; nothing names them, and they serve the next
        # one, unless the table's layout has changed in between.
        key = (batch.batch_id, view.layout)
        if self._written is None or self._written[0] != key:
            self._written = (key, self._table.write_rows(view, batch.rows))
        return self._written[1]

    def _change(
        self, view: TableView, batch: Batch, decision: Stage, files: Sequence[object], now_ms: int
    ) -> Change:
        revision, excluded = view.revision, view.excluded
        properties = checkpoint.to_properties(decision.moved, view.uuid)
        if batch.lost:
            revision += 1
            excluded = (*excluded, *(replace(gone, revision=revision) for gone in batch.lost))
            properties[checkpoint.REVISION] = str(revision)
            properties[checkpoint.EXCLUDED] = checkpoint.excluded_to_text(excluded)
        text = checkpoint.excluded_to_text(excluded) if excluded else ""
        return Change(
            properties=properties,
            summary=summary_of(decision.checkpoints, revision, text),
            files=files,
            expire=expirable(view, self._expiry, now_ms),
        )

    def send(self, attempt: Attempt) -> None:
        """Second half: the one request.

        Raises:
            CommitConflict, CommitUnknown, CatalogUnavailable: prepare the batch again; the
            next load shows what became of this attempt.
        """
        self._table.commit(attempt.view, attempt.change)
