"""A member of a group in memory: hands out runs of a MemoryLog, and rebalances when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from seamark.consumer_writer.service import Writer
from seamark.consumer_writer.table_writer import Start
from seamark.stream.log import Run, TopicPartition
from twins.log import MemoryLog


class MemorySource:
    """A writer's `Source`. The story is moved on by one step at each poll; when it ends, `stop` is set.

    What the story does happens where rebalances happen: within the poll, on the writer's thread.
    """

    def __init__(self, log: MemoryLog, writer: Writer, story: Iterator[None], stop: threading.Event) -> None:
        self._log, self._writer, self._story, self._stop = log, writer, story, stop
        self._at: dict[TopicPartition, Start | None] = {}
        self.paused: set[TopicPartition] = set()
        self.published: dict[TopicPartition, int] = {}
        self.closed = False

    # What a story may do

    def assign(self, *partitions: TopicPartition) -> None:
        starts = self._writer.assigned(partitions)
        for where in partitions:
            self._at[where] = starts.get(where)
            self.paused.discard(where)

    def revoke(self, *partitions: TopicPartition, lost: bool = False) -> None:
        self._writer.revoked(partitions, lost)
        for where in partitions:
            del self._at[where]

    # What the writer asks

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        if next(self._story, "ended") == "ended":
            self._stop.set()
        runs = []
        for where, at in self._at.items():
            if at is None or where in self.paused:
                continue
            run = self._log.read(where, at.offset, most)
            if len(run.offsets):
                runs.append(run)
                self._at[where] = Start(int(run.offsets[-1]) + 1, run.leader_epoch)
        if not runs:
            self._stop.wait(min(timeout_seconds, 0.01))
        return runs

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        for where, start in starts.items():
            if where in self._at:
                self._at[where] = start
                self.paused.discard(where)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused.difference_update(partitions)

    def publish_positions(self, positions: Mapping[TopicPartition, int], metadata: str) -> None:
        self.published = dict(positions)

    def close(self) -> None:
        self.closed = True
        self.revoke(*self._at)
