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
    leader_epoch: int


@dataclass(slots=True)
class MemoryTopic:
    topic_id: str
    records: list[list[Record]]
    start: list[int]
    epochs: list[int]
    """Leader epoch of each partition now."""


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
            [0] * partitions,
        )

    def append(self, where: TopicPartition, value: bytes | None, append_us: int) -> int:
        topic = self.topics[where.topic]
        records = topic.records[where.partition]
        records.append(Record(value, append_us, topic.epochs[where.partition]))
        return len(records) - 1

    def read(self, where: TopicPartition, first: int, most: int) -> Run:
        """Records from `first` on, whatever was there before: a fetch does not ask.

        Raises:
            Stopped: the log begins behind `first`.
        """
        topic = self.topics[where.topic]
        if first < topic.start[where.partition]:
            raise Stopped(f"{where}: offset {first} out of range")
        records = topic.records[where.partition][first : first + most]
        return Run(
            where,
            np.arange(first, first + len(records), dtype=np.int64),
            np.array([record.append_us for record in records], dtype=np.int64),
            records[-1].leader_epoch if records else -1,
            [record.value for record in records],
            [None] * len(records),
            [record.leader_epoch for record in records],
        )

    def leader_epoch(self, where: TopicPartition) -> int:
        """Of the leader now."""
        return self.topics[where.topic].epochs[where.partition]

    def truncated_below(self, where: TopicPartition, offset: int, epoch: int) -> bool:
        """Whether the log lost records of `epoch` below `offset`: what a reader asks of a new leader (KIP-320)."""
        records = self.topics[where.topic].records[where.partition]
        return epoch >= 0 and (
            offset > len(records) or any(record.leader_epoch > epoch for record in records[:offset])
        )

    def truncate(self, where: TopicPartition, end: int) -> None:
        """An unclean election: records from `end` on are gone."""
        topic = self.topics[where.topic]
        del topic.records[where.partition][end:]
        topic.epochs[where.partition] += 1

    def grow(self, topic: str) -> None:
        """One partition more."""
        grown = self.topics[topic]
        grown.records.append([])
        grown.start.append(0)
        grown.epochs.append(0)

    def cluster_id(self) -> str:
        return "memory"

    def topic_id(self, topic: str) -> str | None:
        return self.topics[topic].topic_id if topic in self.topics else None

    def partitions(self, topic: str) -> int:
        return len(self.topics[topic].records)

    def epochs_at(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return {
            where: self.topics[where.topic].records[where.partition][offset].leader_epoch
            for where, offset in offsets.items()
            if self.bounds(where).start <= offset < self.bounds(where).end
        }

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
