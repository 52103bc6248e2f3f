"""One table's side of the writer: observe records, seal batches, attempt commits, restore.

A synchronous state machine without threads, timers or retries of its own: the service's
loop drives it, and the model test drives it through every interleaving.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from seamark.consumer_writer.batch import Batch, Range, batch_id
from seamark.consumer_writer.dead_letters import DeadLetters
from seamark.consumer_writer.decide import Fenced, Halt, Landed, Stage, decide, summary_of
from seamark.consumer_writer.expiry import ExpiryPolicy, expirable
from seamark.lake import checkpoint, excluded
from seamark.lake.assignment import check_log, check_topic, find_logs, place_of
from seamark.lake.checkpoint import Counters, ExcludedRange, StreamPartition
from seamark.lake.foreign import FOREIGN
from seamark.lake.states import StateStore, restore
from seamark.lake.view import Change, LakeTable, TableView
from seamark.market.schema import RecordKind
from seamark.sequencing.state import dump
from seamark.stream.decode import Decoder
from seamark.stream.errors import Stopped
from seamark.stream.log import Bounds, Cluster, Run, TopicPartition
from seamark.stream.observe import Observed, Observer, Paused, Place

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Partition:
    """What was read of one partition behind the last sealed batch."""

    place: Place
    first: int
    """Where the next batch begins."""
    counters: Counters = Counters()
    rows: list[pl.DataFrame] = field(default_factory=list)
    bytes: int = 0
    """Held by `rows`, and by the dead letters sent since then."""
    lost: list[ExcludedRange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading a partition begins: H, with the leader epoch of the record below it."""

    offset: int
    leader_epoch: int


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
        self._observer = Observer(kind, decoder)
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
            Stopped: no stream for the topic, another topic id, H outside the log, another record below H.
            LogUnavailable: the cluster does not answer.
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
        if foreign := view.foreign(view.head_id):
            logger.error("foreign snapshot", extra={"table": self.kind.value, "snapshots": str(foreign)})
        places = {place_of(view, self.kind.value, self._cluster, topic): topic for topic in wanted}
        states = restore(self._table, view, self._store, self.kind, list(places), self._note_rebuild)
        logs = find_logs(self._cluster, {topic: view.checkpoints[where] for where, topic in places.items()})
        starts = {}
        for where, topic in places.items():
            point = view.checkpoints[where]
            check_log(where, topic, point, logs[topic])
            place = Place(where, topic, point.next, states[where], point.leader_epoch)
            part = _Partition(place, point.next)
            self._check_start(part, logs[topic].bounds, view.revision)
            self._partitions[topic] = part
            self._observer.begin(place)
            starts[topic] = Start(place.position, place.leader_epoch)
        return starts

    def _check_start(self, part: _Partition, bounds: Bounds, revision: int) -> None:
        place = part.place
        if place.position < bounds.start:
            if self._on_log_start == "stop":
                raise Stopped(
                    f"{place.topic.topic}-{place.topic.partition}: H was {place.position}, the log begins at "
                    f"{bounds.start}. Way on: on_log_start=lost records [{place.position}, {bounds.start}) as lost"
                )
            gone = ExcludedRange(place.where, place.position, bounds.start, "LOST", revision + 1)
            logger.error("records lost: the log begins behind H", extra={"range": str(gone)})
            part.lost.append(gone)
            part.counters += Counters(lost=bounds.start - place.position)
            place.position, place.leader_epoch = bounds.start, -1

    def _note_rebuild(self, where: StreamPartition, reason: str) -> None:
        logger.warning("state rebuilt from history", extra={"partition": str(where), "reason": reason})

    def release(self, gone: Iterable[TopicPartition]) -> None:
        """Give partitions up: what was read of them and not committed is forgotten."""
        gone = list(gone)
        self._observer.release(gone)
        for topic in gone:
            self._partitions.pop(topic, None)

    @property
    def assigned(self) -> tuple[TopicPartition, ...]:
        return tuple(self._partitions)

    def position(self, topic: TopicPartition) -> int:
        """Offset behind the last record decoded and buffered."""
        return self._partitions[topic].place.position

    # Reading

    def observe(self, runs: Sequence[Run]) -> list[Paused]:
        """Judge records and buffer their rows; give back the partitions that must not be read on.

        Raises:
            Stopped: an offset is missing from the middle of a log.
        """
        observed, paused = self._observer.observe(runs)
        for one in observed:
            self._take(one)
        return paused

    def _take(self, observed: Observed) -> None:
        part = self._partitions[observed.place.topic]
        if len(observed.rows):
            part.rows.append(observed.rows)
            part.bytes += int(observed.rows.estimated_size())
        if observed.rejects:
            # They are held as well, until they are acknowledged.
            part.bytes += sum(len(observed.run.values[at] or b"") for at in observed.rejects)
            self._dead_letters.send(observed.run, observed.rejects, observed.place.where.stream_id)
        part.counters += observed.counters

    @property
    def buffered_rows(self) -> int:
        return sum(len(frame) for part in self._partitions.values() for frame in part.rows)

    @property
    def buffered_bytes(self) -> int:
        return sum(part.bytes for part in self._partitions.values())

    @property
    def pending(self) -> bool:
        """Whether anything was decided since the last batch."""
        return any(part.place.position > part.first for part in self._partitions.values())

    # Committing

    def seal(self) -> Batch | None:
        """Freeze all that was observed into a batch; None if there is nothing new."""
        parts = [part for part in self._partitions.values() if part.place.position > part.first]
        if not parts:
            return None
        ranges = {
            place.where: Range(
                part.first,
                place.position,
                place.leader_epoch,
                place.state.append_us,
                part.counters,
                place.state,
            )
            for part in parts
            for place in [part.place]
        }
        lost = tuple(gone for part in parts for gone in part.lost)
        batch = Batch(
            batch_id=batch_id(ranges, self._writer_id, lost),
            kind=self.kind,
            ranges=ranges,
            topics={part.place.where.stream_id: part.place.topic.topic for part in parts},
            frames={part.place.where: tuple(part.rows) for part in parts},
            lost=lost,
        )
        for part in parts:
            part.first, part.counters = part.place.position, Counters()
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
            check_topic(self._cluster, view.streams[stream_id])
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
        revision, text = view.revision, view.excluded_text
        properties = checkpoint.to_properties(decision.moved, view.uuid)
        foreign = view.foreign(view.head_id)
        if (mark := foreign.to_text()) != view.foreign_text:
            # Built upon, but never forgotten: only an operator can say that these rows are meant.
            logger.error("foreign snapshot", extra={"table": self.kind.value, "snapshots": str(foreign)})
            properties[FOREIGN] = mark
        if batch.lost:
            revision += 1
            text = excluded.with_more(text, batch.lost, revision, view.uuid, self._store)
            properties[checkpoint.REVISION] = str(revision)
            properties[checkpoint.EXCLUDED] = text
        return Change(
            properties=properties,
            summary=summary_of(decision.checkpoints, revision, text, mark),
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
