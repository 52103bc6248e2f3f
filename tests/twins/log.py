"""A log in memory: dense offsets, leader epochs, truncation, deletion, re-creation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from seamark.stream.errors import Stopped
from seamark.stream.log import Bounds, Run, TopicPartition


@dataclass(slots=True)
class Record:
    value: bytes | None
    append_us: int


@dataclass(slots=True)
class MemoryTopic:
    topic_id: str
    records: list[list[Record]]
    start: list[int]
    epochs: list[list[tuple[int, int]]] = field(default_factory=list)
    """By partition: (leader epoch, its first offset), ascending."""


@dataclass(slots=True)
class MemoryLog:
    """Answers `Cluster`, takes appends, and reads runs."""

    topics: dict[str, MemoryTopic] = field(default_factory=dict)
    _created: int = 0

    def create(self, topic: str, partitions: int) -> None:
        self._created += 1
        self.topics[topic] = MemoryTopic(
            f"id-{self._created}",
            [[] for _ in range(partitions)],
            [0] * partitions,
            [[(0, 0)] for _ in range(partitions)],
        )

    def append(self, where: TopicPartition, value: bytes | None, append_us: int) -> int:
        records = self.topics[where.topic].records[where.partition]
        records.append(Record(value, append_us))
        return len(records) - 1

    def read(self, where: TopicPartition, first: int, most: int, epoch: int = -1) -> Run:
        """Records from `first` on, as a fetch that names the `epoch` of the record before.

        Raises:
            Stopped: that epoch ended before `first`: the log was truncated (KIP-320).
        """
        topic = self.topics[where.topic]
        later = [start for number, start in topic.epochs[where.partition] if number > epoch]
        if epoch >= 0 and later and first > later[0]:
            raise Stopped(f"{where}: log truncated at {later[0]}, fetch was from {first}")
        if first < topic.start[where.partition]:
            raise Stopped(f"{where}: offset {first} out of range")
        records = topic.records[where.partition][first : first + most]
        return Run(
            where,
            np.arange(first, first + len(records), dtype=np.int64),
            np.array([record.append_us for record in records], dtype=np.int64),
            topic.epochs[where.partition][-1][0],
            [record.value for record in records],
            [None] * len(records),
        )

    def truncate(self, where: TopicPartition, end: int) -> None:
        """An unclean election: records from `end` on are gone."""
        topic = self.topics[where.topic]
        del topic.records[where.partition][end:]
        number = topic.epochs[where.partition][-1][0] + 1
        topic.epochs[where.partition].append((number, end))

    def grow(self, topic: str) -> None:
        """One partition more."""
        grown = self.topics[topic]
        grown.records.append([])
        grown.start.append(0)
        grown.epochs.append([(0, 0)])

    def cluster_id(self) -> str:
        return "memory"

    def topic_id(self, topic: str) -> str | None:
        return self.topics[topic].topic_id if topic in self.topics else None

    def partitions(self, topic: str) -> int:
        return len(self.topics[topic].records)

    def ends(self, topic: str, partitions: Sequence[int]) -> Mapping[int, int]:
        if topic not in self.topics:
            return {}
        return {partition: self.bounds(TopicPartition(topic, partition)).end for partition in partitions}

    def bounds(self, where: TopicPartition) -> Bounds:
        topic = self.topics[where.topic]
        return Bounds(topic.start[where.partition], len(topic.records[where.partition]))


class MemoryDeadLetters:
    """Keeps what was sent: (topic partition, offset)."""

    def __init__(self) -> None:
        self.sent: list[tuple[TopicPartition, int, str]] = []

    def send(self, run: Run, rejects: Mapping[int, str], stream_id: int) -> None:
        self.sent.extend((run.where, int(run.offsets[at]), reason) for at, reason in rejects.items())

    def flush(self) -> None:
        return
