"""What readers of the log ask of it. The Kafka edge and the in-memory twin both answer."""

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
    epochs: Sequence[int] = ()
    """Leader epoch of each record, where not all have that of the last."""

    def until(self, count: int) -> Run:
        """The first `count` records of the run."""
        if count == len(self.offsets):
            return self
        return Run(
            self.where,
            self.offsets[:count],
            self.append_us[:count],
            self.epochs[count - 1] if count and self.epochs else self.leader_epoch,
            self.values[:count],
            self.keys[:count],
            self.epochs[:count],
        )

    def behind(self, count: int) -> Run:
        """The run without its first `count` records."""
        return Run(
            self.where,
            self.offsets[count:],
            self.append_us[count:],
            self.leader_epoch,
            self.values[count:],
            self.keys[count:],
            self.epochs[count:],
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

    def epochs_at(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Leader epoch of the record at an offset, by partition; -1 where the broker gives none.

        Each offset is below its log's end when it is asked; without the partitions whose log has no
        record there.

        Raises:
            Stopped: a topic may not be read.
        """
        ...

    def ends(self, topic: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """Log end offsets by partition, in one request to each leader; without those that are refused."""
        ...
