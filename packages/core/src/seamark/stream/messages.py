"""From a Kafka client's messages to runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import Message

from seamark.stream.log import Run, TopicPartition


def runs_of(messages: Sequence[Message]) -> list[Run]:
    """Messages without errors, grouped by partition; within one, librdkafka delivers in offset order."""
    groups: dict[tuple[str, int], list[Message]] = {}
    # Every record passes here while the log is caught up with: no bytecode per record.
    places = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
    for place, group in groupby(zip(places, messages, strict=True), itemgetter(0)):
        groups.setdefault(place, []).extend(map(itemgetter(1), group))
    return [_run(TopicPartition(*place), group) for place, group in groups.items()]


def _run(where: TopicPartition, messages: Sequence[Message]) -> Run:
    first, last = epoch_of(messages[0]), epoch_of(messages[-1])
    stamps = np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, len(messages))
    return Run(
        where,
        np.fromiter(map(Message.offset, messages), np.int64, len(messages)),
        stamps * 1000,
        last,
        list(map(Message.value, messages)),
        _Keys(messages),
        # Epochs do not fall within a log: all are alike if the first and the last are.
        () if first == last else list(map(epoch_of, messages)),
    )


def epoch_of(message: Message) -> int:
    """Leader epoch of a record; -1 where the broker gives none."""
    epoch = message.leader_epoch()
    return -1 if epoch is None else int(epoch)


class _Keys(Sequence[bytes | None]):
    """Keys of messages, read only where one is asked for: dead letters alone want them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401 - int or slice, as Sequence has it
        if isinstance(at, slice):
            return _Keys(self._messages[at])
        return self._messages[at].key()
