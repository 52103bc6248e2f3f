"""A consumer in memory: reads a MemoryLog as the Kafka edge reads Kafka, its complaints included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.tail_cache.source import Start
from twins.log import MemoryLog


class MemoryFeed:
    """A tail's `Source`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._at: dict[TopicPartition, Start] = {}
        self._lost: dict[TopicPartition, str] = {}
        self._leaders: dict[TopicPartition, int] = {}
        """Epoch of the leader when a position was begun: as the client does, only a later one is asked."""
        self._ends: dict[TopicPartition, int] = {}
        """As of the last fetch: what is not fetched has the end that it had."""
        self.paused = False

    def begin(self, starts: Mapping[TopicPartition, Start]) -> None:
        self._at.update(starts)
        self._leaders.update({where: self._log.leader_epoch(where) for where in starts})

    def end(self, gone: Iterable[TopicPartition]) -> None:
        for where in gone:
            self._at.pop(where, None)
            self._lost.pop(where, None)

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def poll(self, most: int, timeout_seconds: float) -> list[Run]:
        runs = []
        for where, at in {} if self.paused else self._at.items():
            if where in self._lost or where.topic not in self._log.topics:
                continue
            try:
                self._ask_new_leader(where, at)
                run = self._log.read(where, at.offset, most)
                if at.offset > self._log.bounds(where).end:
                    raise Stopped(f"{where}: offset {at.offset} out of range")
            except Stopped as error:
                self._lost[where] = str(error)
                continue
            self._ends[where] = self._log.bounds(where).end
            if len(run.offsets):
                runs.append(run)
                self._at[where] = Start(int(run.offsets[-1]) + 1, run.leader_epoch)
        return runs

    def _ask_new_leader(self, where: TopicPartition, at: Start) -> None:
        if (leader := self._log.leader_epoch(where)) == self._leaders[where]:
            return
        self._leaders[where] = leader
        if self._log.truncated_below(where, at.offset, at.leader_epoch):
            raise Stopped(f"{where}: log truncated below {at.offset}")

    def lost(self) -> Mapping[TopicPartition, str]:
        lost, self._lost = self._lost, {}
        return lost

    def end_offset(self, where: TopicPartition) -> int:
        return self._ends.get(where, -1)

    def close(self) -> None:
        self._at.clear()
