"""Where records come from, and where reading begins. Knows offsets; must not know what is kept of records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.sequencing.state import PartitionState
from seamark.stream.log import Run, TopicPartition


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins; `leader_epoch` of the record below it, -1 where unknown."""

    offset: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """A partition to hold, from `first` on."""

    where: StreamPartition
    topic: TopicPartition
    first: int
    """H, or the log's start where that is above it."""
    state: PartitionState
    """state(H)."""
    committed: Checkpoint
    end: int
    """The log's end as just asked for."""
    end_as_of_us: int
    """When it was asked for."""


class Source(Protocol):
    """Where records come from. The Kafka edge and the in-memory twin both answer."""

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Read these from there on, wherever they were read before; what was fetched of them is dropped."""
        ...

    def end(self, gone: Iterable[TopicPartition]) -> None:
        """Read these no more."""
        ...

    def pause(self, paused: bool) -> None:
        """Deliver nothing, or go on, of what is read now and of what is begun later."""
        ...

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        """Runs of up to `most` records: those that are there, or the next to come within the time.

        Raises:
            Stopped: no waiting mends it.
        """
        ...

    def lost(self) -> Mapping[TopicPartition, str]:
        """Partitions whose log is not where reading stood, since the last call, and what was said."""
        ...

    def end_offset(self, where: TopicPartition) -> int:
        """The log's end as of the last fetch, however long ago that was; -1 where none was answered yet."""
        ...

    def close(self) -> None: ...
