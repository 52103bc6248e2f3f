"""Judges records of the log in offset order, from state(H): decode, append time, first occurrence.

Knows what a record comes to. Must not know what becomes of it: the writer commits rows, the
tail serves them, and both see the same ones because both ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from seamark.lake.checkpoint import Counters, StreamPartition
from seamark.market.schema import RecordKind
from seamark.sequencing.fold import append_times, fold
from seamark.sequencing.state import PartitionState
from seamark.stream.decode import Decoder
from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.rows import Positions, records_of


@dataclass(slots=True)
class Place:
    """Where reading a partition stands."""

    where: StreamPartition
    topic: TopicPartition
    position: int
    """Offset of the next record to observe."""
    state: PartitionState
    """state(position)."""
    leader_epoch: int
    """Of the record below `position`; -1 where unknown."""
    blocked: bool = False
    """Nothing is read behind a record that this build cannot resolve."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What consecutive records of one partition came to. The place stands behind them."""

    place: Place
    run: Run
    rows: pl.DataFrame
    """Accepted records in offset order, with kafka_offset, kafka_timestamp and id_epoch (`stream.rows`)."""
    counters: Counters
    """Their sum is the length of `run`."""
    rejects: Mapping[int, str]
    """Position in `run` of each refused record, and why."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A record whose schema id this build cannot resolve: nothing behind it may be read."""

    where: TopicPartition
    offset: int
    schema_id: int


class Observer:
    """Judges the records of one kind."""

    def __init__(self, kind: RecordKind, decoder: Decoder) -> None:
        self._kind = kind
        self._decoder = decoder
        self._places: dict[TopicPartition, Place] = {}

    def begin(self, place: Place) -> None:
        """Judge a partition from this place on; where it stood before is forgotten."""
        self._places[place.topic] = place

    def release(self, gone: Iterable[TopicPartition]) -> None:
        for topic in gone:
            self._places.pop(topic, None)

    def observe(self, runs: Sequence[Run]) -> tuple[list[Observed], list[Paused]]:
        """Judge records; also give back the partitions that must not be read on.

        Records of partitions not begun, and offsets already observed, are ignored: a replay is
        not a duplicate.

        Raises:
            Stopped: an offset is missing from the middle of a log.
        """
        fresh = [run for run in map(self._unseen, runs) if run is not None]
        if not fresh:
            return [], []
        decoded = self._decoder.decode([value for run in fresh for value in run.values])
        observed: list[Observed] = []
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
            rows, index = decoded.rows[low:high], decoded.index[low:high] - base
            if judged:
                observed.append(self._judge(run.until(judged), rows, index, rejects))
            if judged < length:
                # Behind an id that could not be resolved stand other partitions' records:
                # each run gets its own verdict.
                rest = run.behind(judged)
                alone = self._decoder.decode(rest.values)
                rejects = {reject.index: reject.reason for reject in alone.rejects}
                if alone.length:
                    observed.append(self._judge(rest.until(alone.length), alone.rows, alone.index, rejects))
                if alone.unresolved is not None:
                    self._places[run.where].blocked = True
                    paused.append(Paused(run.where, int(rest.offsets[alone.length]), alone.unresolved))
            base += length
        return observed, paused

    def _unseen(self, run: Run) -> Run | None:
        place = self._places.get(run.where)
        if place is None or place.blocked or not len(run.offsets) or run.offsets[-1] < place.position:
            return None
        if run.offsets[0] < place.position:
            run = run.behind(int(np.searchsorted(run.offsets, place.position)))
        count = len(run.offsets)
        if run.offsets[0] != place.position or run.offsets[-1] - run.offsets[0] != count - 1:
            raise Stopped(
                f"{run.where.topic}-{run.where.partition}: offsets {run.offsets[0]} to {run.offsets[-1]} came as "
                f"{count} records after {place.position - 1}: they must be dense (no transactions, no compaction)"
            )
        return run

    def _judge(
        self, run: Run, rows: pl.DataFrame, index: npt.NDArray[np.int64], rejects: Mapping[int, str]
    ) -> Observed:
        place = self._places[run.where]
        running, state = append_times(place.state, run.append_us)
        epochs = None
        positions = Positions(run.offsets[index], running[index])
        if self._kind.sequenced and len(rows):
            verdict = fold(state, self._kind, records_of(rows))
            state, epochs = verdict.state, verdict.epochs
            if not verdict.accepted.all():
                rows = rows.filter(pl.Series(verdict.accepted))
                positions = positions.where(verdict.accepted)
                epochs = epochs[verdict.accepted]
        place.state = state
        place.position = int(run.offsets[-1]) + 1
        place.leader_epoch = run.leader_epoch
        repeats = len(run.offsets) - len(rows) - len(rejects)
        counters = Counters(written=len(rows), duplicate=repeats, dlq=len(rejects))
        return Observed(place, run, positions.beside(rows, epochs), counters, rejects)
