"""What the loop needs of a log that is read for it. Knows runs and positions; must not know Kafka, nor tables' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from seamark.consumer_writer.table_writer import Start
from seamark.stream.log import Run, TopicPartition


class Source(Protocol):
    """Where records come from. `kafka.KafkaSource` and the in-memory twin both answer."""

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        """Runs of up to `most` records. Rebalances are told to the listener from within.

        Raises:
            Stopped: the log cannot be read on from where the table ends.
        """
        ...

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Read these from there on, paused before or not; what was fetched of them is dropped."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None: ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...

    def publish_positions(self, positions: Mapping[TopicPartition, int], metadata: str) -> None:
        """For metrics and dashboards alone."""
        ...

    def close(self) -> None:
        """Leave the group. The listener may be told once more."""
        ...
