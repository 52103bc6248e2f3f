"""A set of ids as closed intervals: contiguous ids cost one pair, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Disjoint, non-adjacent, ascending closed intervals `[starts[i], ends[i]]` of ids from 0 on."""

    starts: Ids
    ends: Ids

    @classmethod
    def empty(cls) -> Intervals:
        return _EMPTY

    @classmethod
    def of(cls, ids: Ids) -> Intervals:
        """The set of `ids`, in any order, repeats allowed."""
        if not len(ids):
            return _EMPTY
        ordered = np.unique(ids)
        breaks = np.flatnonzero(np.diff(ordered) != 1)
        starts = ordered[np.concatenate(([0], breaks + 1))]
        ends = ordered[np.concatenate((breaks, [len(ordered) - 1]))]
        return cls(starts, ends)

    def contains(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """For each of `ids`, whether it is in the set."""
        if not len(self.starts):
            return np.zeros(len(ids), dtype=np.bool_)
        at = np.searchsorted(self.starts, ids, side="right") - 1
        return (at >= 0) & (ids <= self.ends[at])

    def union(self, other: Intervals) -> Intervals:
        """Both sets as one."""
        if not len(self.starts):
            return other
        if not len(other.starts):
            return self
        if len(other.starts) == 1 and other.starts[0] - 1 == self.ends[-1]:
            # What nearly always happens: the next ids of an unbroken feed.
            ends = self.ends.copy()
            ends[-1] = other.ends[0]
            return Intervals(self.starts, ends)
        starts = np.concatenate((self.starts, other.starts))
        ends = np.concatenate((self.ends, other.ends))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        # Not ends + 1: the greatest id there is has no successor.
        breaks = np.flatnonzero(starts[1:] - 1 > ends[:-1])
        return Intervals(
            starts[np.concatenate(([0], breaks + 1))],
            ends[np.concatenate((breaks, [len(starts) - 1]))],
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Intervals):
            return NotImplemented
        return np.array_equal(self.starts, other.starts) and np.array_equal(self.ends, other.ends)

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.ends.tobytes()))


_EMPTY = Intervals(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
