"""Judges records of the log in offset order, from state(H): decode, append time, first occurrence.

Knows what a record comes to. Must not know what becomes of it: the writer commits rows, the
tail serves them, and both see the same ones because both ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from seamark.lake.checkpoint import Counters, StreamPartition
from seamark.market.schema import RecordKind
from seamark.sequencing.fold import append_times, fold
from seamark.sequencing.state import PartitionState
from seamark.stream.decode import Decoded, Decoder
from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.rows import Positions, records_of, repeating_as_codes


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
        judged: list[Run] = []
        behind: list[Run] = []
        left = decoded.length
        for run in fresh:
            count = min(len(run.offsets), left)
            left -= count
            if count:
                judged.append(run.until(count))
            if count < len(run.offsets):
                behind.append(run.behind(count))
        observed = self._judge(judged, decoded)
        paused: list[Paused] = []
        for run in behind:
            # Behind an id that could not be resolved stand other partitions' records: each run
            # gets its own verdict.
            alone = self._decoder.decode(run.values)
            if alone.length:
                observed += self._judge([run.until(alone.length)], alone)
            if alone.unresolved is not None:
                self._places[run.where].blocked = True
                paused.append(Paused(run.where, int(run.offsets[alone.length]), alone.unresolved))
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

    def _judge(self, runs: Sequence[Run], decoded: Decoded) -> list[Observed]:
        """Fold runs, of which `decoded` is the verdict on all records, one behind the other.

        What is done by column is done for all runs at once: a batch at the log's end has a few
        records of each of many partitions.
        """
        rows = repeating_as_codes(decoded.rows)
        rejected = [reject.index for reject in decoded.rejects]
        records = records_of(rows) if self._kind.sequenced and len(rows) else None
        accepted = np.ones(len(rows), dtype=np.bool_)
        epochs = np.zeros(len(rows), dtype=np.int32)
        offsets = np.empty(len(rows), dtype=np.int64)
        append_us = np.empty(len(rows), dtype=np.int64)
        starts = np.cumsum([0, *(len(run.offsets) for run in runs)])
        bounds = np.searchsorted(decoded.index, starts)
        for run, start, low, high in zip(runs, starts, bounds, bounds[1:], strict=False):
            place = self._places[run.where]
            of_run = decoded.index[low:high] - start
            running, place.state = append_times(place.state, run.append_us)
            offsets[low:high], append_us[low:high] = run.offsets[of_run], running[of_run]
            if records is not None and low < high:
                verdict = fold(place.state, self._kind, records.between(low, high))
                place.state = verdict.state
                accepted[low:high], epochs[low:high] = verdict.accepted, verdict.epochs
            place.position = int(run.offsets[-1]) + 1
            place.leader_epoch = run.leader_epoch
        positions = Positions(offsets, append_us)
        if not accepted.all():
            rows = rows.filter(pl.Series(accepted))
            positions, epochs = positions.where(accepted), epochs[accepted]
        rows = positions.beside(rows, epochs if self._kind.sequenced else None)
        kept = np.concatenate(([0], np.cumsum(accepted)))[bounds]
        observed = []
        for at, run in enumerate(runs):
            low, high = np.searchsorted(rejected, starts[at : at + 2])
            rejects = {reject.index - int(starts[at]): reject.reason for reject in decoded.rejects[low:high]}
            mine = rows.slice(kept[at], kept[at + 1] - kept[at])
            counters = Counters(
                written=len(mine),
                duplicate=len(run.offsets) - len(mine) - len(rejects),
                dlq=len(rejects),
            )
            observed.append(Observed(self._places[run.where], run, mine, counters, rejects))
        return observed
