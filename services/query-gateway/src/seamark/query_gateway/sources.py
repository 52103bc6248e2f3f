"""The three places rows come from: history, tail, log. What each promises; edges and twins answer it."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Unavailable
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.stream.log import Bounds


class SnapshotGone(Unavailable):
    """Files of a snapshot are not there any more: it has expired and they were removed."""


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets asked of the tail: from `first` to `next`, or to where the replica is at that moment."""

    where: StreamPartition
    topic: str
    first: int
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a replica gave of a range: rows of [first, next), all of them."""

    where: StreamPartition
    first: int
    next: int
    lo: int
    hi: int
    end: int
    """The log's end when the replica last asked."""
    append_us: int
    """Running maximum of the append time at hi."""
    end_as_of_us: int = 0
    """All that had been appended by then is below `end`; 0: nobody knows."""
    stopped: str = ""
    """Why the replica reads this no more, or not now; empty: it reads on."""
    committed_append_us: int = 0
    """Append time of the first record at or beyond the asked `first` that is there, or a little earlier; 0: not said."""


@dataclass(frozen=True, slots=True, eq=False)
class TailRows:
    """What all replicas together gave."""

    frame: pl.DataFrame | None
    """Matching rows; None: there are none."""
    coverage: Mapping[StreamPartition, Coverage]
    failed: Mapping[StreamPartition, str] = field(default_factory=dict)
    """Partitions that no replica gave, and why."""


class TailSource(Protocol):
    """The tail-cache."""

    async def read(
        self,
        kind: RecordKind,
        ranges: Sequence[Range],
        columns: Sequence[str],
        predicate: Predicate,
        deadline_seconds: float,
        nearest: Nearest | None = None,
    ) -> TailRows:
        """Rows of ranges, each from one replica in one life of it. Waits for `next` until the deadline
        (monotonic clock). A replica that fails is a partition in `failed`, never an exception.
        `nearest`: rows that it does not want may be left out, in one range or in all."""
        ...

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        """Where the replicas stand now, without rows; partitions that no replica answers for are left out."""
        ...


class LogSource(Protocol):
    """Kafka itself, where the tail cannot say. Methods block, and raise LogUnavailable where Kafka does not
    answer, or has another topic under the stream's name: its offsets are other records."""

    def bounds(self, pin: Pin, where: StreamPartition) -> Bounds: ...

    def offset_after(self, pin: Pin, where: StreamPartition, instant_us: int) -> int:
        """First offset appended later than `instant_us`; the log's end if there is none."""
        ...

    def read(self, pin: Pin, where: StreamPartition, end: int, cancelled: threading.Event) -> pl.DataFrame:
        """Rows of [H(pin), end) with all columns of the table: decoded, judged from state(H)."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the rows' `timestamp`: [from_us, to_us); None: open."""

    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryEstimate:
    """Upper bounds of what reading takes."""

    rows: int
    bytes: int
    files: int


class HistoryPlan(Protocol):
    """What reading one snapshot for one predicate touches."""

    @property
    def estimate(self) -> HistoryEstimate: ...

    @property
    def newest_us(self) -> int | None:
        """No matching row has a later `timestamp`; None: nobody knows."""
        ...

    def windows(self, target_rows: int) -> Sequence[Window]:
        """Ascending windows that tile all time, each with about so many rows; at least one."""
        ...

    def made_of(self, edges_us: Sequence[int]) -> Sequence[frozenset[Hashable]]:
        """What the rows from each edge to the next come from: where two plans for one predicate name the same,
        they have the same rows there."""
        ...


class History(Protocol):
    """Rows of one snapshot. Methods block. Raise CatalogUnavailable, or SnapshotGone where files are gone."""

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> HistoryPlan: ...

    def read(
        self,
        plan: HistoryPlan,
        window: Window,
        below: Vector | None,
        cancelled: threading.Event,
    ) -> Iterator[pl.DataFrame]:
        """Matching rows in the window with the plan's columns, in no order.

        `below`: only rows whose offset is below their partition's; of partitions not named, none.
        """
        ...
