"""All partitions of all tables in this process: one thread changes them, many read views without a lock.

A view is immutable, and all views are swapped at once: a reader that takes `now` sees every
partition at the same moment, for as long as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

from seamark.lake.checkpoint import StreamPartition
from seamark.market.schema import RecordKind
from seamark.tail_cache.blocks import FULL_ROWS, Block
from seamark.tail_cache.partition import PartitionTail, View
from seamark.tail_cache.spill import SpillFolder

logger = logging.getLogger(__name__)

Views = Mapping[StreamPartition, View]


@dataclass(frozen=True, slots=True)
class Published:
    """What readers see: all partitions at one moment."""

    epoch: str
    """Names the life of what is held: another one after each loss of rows that readers may have been given."""
    views: Mapping[RecordKind, Views]


class Store:
    """Partition tails by table. All but `now` is for the one thread that owns it."""

    def __init__(self, folder: SpillFolder, memory_bytes: int) -> None:
        """`memory_bytes`: what rows in memory and all indexes may take; older rows beyond it go to `folder`."""
        self._folder = folder
        self._cap_bytes = memory_bytes
        self._life = uuid4().hex
        self._losses = 0
        self._tails: dict[RecordKind, dict[StreamPartition, PartitionTail]] = {
            kind: {} for kind in RecordKind
        }
        self.full = False
        """Beyond the cap, and the disk takes no more: nothing should be added."""
        self.publish()

    def __iter__(self) -> Iterator[tuple[RecordKind, PartitionTail]]:
        for kind, tails in self._tails.items():
            for tail in tails.values():
                yield kind, tail

    def of(self, kind: RecordKind) -> Mapping[StreamPartition, PartitionTail]:
        return self._tails[kind]

    def add(self, kind: RecordKind, tail: PartitionTail) -> None:
        """Hold one more partition; one held under the same name is dropped."""
        self.drop(kind, tail.where)
        self._tails[kind][tail.where] = tail

    def drop(self, kind: RecordKind, where: StreamPartition) -> None:
        """Forget a partition. Answers that have begun and not ended get another epoch at their end."""
        tail = self._tails[kind].pop(where, None)
        if tail is not None:
            self._lose(tail.blocks)

    def forget(self, kind: RecordKind, where: StreamPartition) -> None:
        """Let go of a partition: answers that have begun are as good as they were."""
        tail = self._tails[kind].pop(where, None)
        if tail is not None:
            self._delete(tail.blocks)

    def cut(self, tail: PartitionTail, offset: int) -> None:
        """Forget what stands at `offset` and above."""
        before = tail.blocks
        tail.cut(offset)
        self._lose(block for block in before if block not in tail.blocks)

    def _lose(self, blocks: Iterable[Block]) -> None:
        self._losses += 1
        self._delete(blocks)

    def evict_below(self, tail: PartitionTail, offset: int) -> None:
        self._delete(tail.evict_below(offset))

    def _delete(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._folder.delete(block)

    def publish(self) -> None:
        """Let readers see what has become of all partitions."""
        self.now = Published(
            f"{self._life}.{self._losses}",
            {
                kind: {where: tail.view(self.full) for where, tail in tails.items()}
                for kind, tails in self._tails.items()
            },
        )

    @property
    def memory_bytes(self) -> int:
        rows = sum(block.rows.memory_bytes for _, tail in self for block in tail.blocks)
        return rows + self._folder.index_bytes

    def relieve(self) -> None:
        """Spill the oldest rows until what is in memory is below the cap."""
        excess = self.memory_bytes - self._cap_bytes
        if excess <= 0:
            self.full = False
            return
        for tail, block in self._oldest_first():
            try:
                spilled = self._folder.spill(block)
            except OSError as error:
                if not self.full:
                    logger.error("rows cannot be spilled, reading pauses", extra={"error": str(error)})
                self.full = True
                return
            tail.replace(block, spilled)
            excess -= block.rows.memory_bytes
            if excess <= 0:
                break
        self.full = False

    def _oldest_first(self) -> list[tuple[PartitionTail, Block]]:
        """What can be spilled: blocks that grow no more by age, then the others."""
        found = [(tail, block) for _, tail in self for block in tail.blocks if block.rows.memory_bytes]
        return sorted(
            found,
            key=lambda one: (one[1].rows.count < FULL_ROWS, one[1].times["kafka_timestamp"].least_us),
        )
