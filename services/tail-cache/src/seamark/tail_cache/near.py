"""Which rows are near enough, where only the first so many are wanted. Pure.

Knows times. Must not know rows, nor where they are kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seamark.market.nearest import Nearest
from seamark.tail_cache.blocks import TimeSpan

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Near:
    """The wanted distance, narrower with every row that is known to match."""

    def __init__(self, nearest: Nearest) -> None:
        self.rows, self.latest = nearest.rows, nearest.latest
        self._sign = -1 if nearest.latest else 1
        self._after = None if nearest.after_us is None else nearest.after_us * self._sign
        self._counted: Times = np.empty(0, np.int64)
        self._bound: int | None = None
        """Beyond it nothing is wanted; None: not so many rows were seen yet."""

    def reaches(self, span: TimeSpan) -> bool:
        """Whether a row with a time within `span` may be wanted."""
        least, greatest = sorted((span.least_us * self._sign, span.greatest_us * self._sign))
        return not (
            (self._bound is not None and least > self._bound)
            or (self._after is not None and greatest < self._after)
        )

    def among(self, times_us: Times) -> Mask:
        """Which of these may be wanted, given that all of them match; nothing is remembered."""
        return self._looked(times_us, np.empty(0, np.int64))[0]

    def take(self, times_us: Times) -> Mask:
        """Which of these rows, seen for the first time and known to match, may be wanted."""
        mask, self._counted, self._bound = self._looked(times_us, self._counted)
        return mask

    def _looked(self, times_us: Times, counted: Times) -> tuple[Mask, Times, int | None]:
        at = times_us * self._sign
        wanted = np.ones(len(at), np.bool_)
        if self._bound is not None:
            wanted &= at <= self._bound
        count = at[wanted]
        if self._after is not None:
            wanted &= at >= self._after
            count = at[wanted & (at > self._after)]
        counted = np.concatenate([counted, count])
        bound = self._bound
        if len(counted) >= self.rows:
            counted = np.partition(counted, self.rows - 1)[: self.rows]
            bound = int(counted.max())
            wanted &= at <= bound
        return wanted, counted, bound
