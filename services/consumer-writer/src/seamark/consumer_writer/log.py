"""What the writer asks of the log. The Kafka edge and the in-memory twin both answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class TopicPartition(NamedTuple):
    """A partition by its topic's name; which stream that is, the table says."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Consecutive records of one partition, in offset order."""

    where: TopicPartition
    offsets: npt.NDArray[np.int64]
    append_us: npt.NDArray[np.int64]
    """Append time of each record, microseconds."""
    leader_epoch: int
    """Leader epoch of the last record; -1 if the broker gives none."""
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]

    def behind(self, count: int) -> Run:
        """The run without its first `count` records."""
        return Run(
            self.where,
            self.offsets[count:],
            self.append_us[count:],
            self.leader_epoch,
            self.values[count:],
            self.keys[count:],
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Log start and end offset (next to be written) of a partition."""

    start: int
    end: int


class Cluster(Protocol):
    """Facts about topics, asked outside the read path. Errors: LogUnavailable."""

    def cluster_id(self) -> str: ...

    def topic_id(self, topic: str) -> str | None:
        """The topic's id, or None where there is no such topic."""
        ...

    def partitions(self, topic: str) -> int: ...

    def bounds(self, where: TopicPartition) -> Bounds: ...


class DeadLetters(Protocol):
    """Where records that no reader can decode are kept."""

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        """Queue the records at these positions of `run`, each with its error."""
        ...

    def flush(self) -> None:
        """Return when all sent records are acknowledged. Raises LogUnavailable."""
        ...
