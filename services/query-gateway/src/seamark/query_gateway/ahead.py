"""What questions will want soon, made when a commit brings it: files at hand, and states of bars of all symbols.

The first question for the last hour of a symbol would read a few dozen files for it. Here each minute of history is
read once, for all symbols. Knows which minutes are new, and at what pace to go. Must not know what a state says.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from seamark.lake.errors import LakeError
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import QueryError
from seamark.query_gateway.ordered_rows import WINDOW_ROWS
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.pins import PinCache
from seamark.query_gateway.question import MINUTE_US
from seamark.query_gateway.sources import History

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_REST = 2.0
"""Of the time that a step took: questions come first."""
_SETTLED_US = 5_000_000
"""Before history's newest row; behind it rows of the same moment may come with the next commit."""
_MOST_MINUTES = 5
"""Of one step."""
_WARM = (RecordKind.TRADES, RecordKind.QUOTES)


class Warmable(History, Protocol):
    """A reader that can fetch what a new snapshot brings."""

    def warm(self, pin: Pin) -> None: ...


Learn = Callable[[Pin, History, int, int, threading.Event], int]
"""Keeps the states of whole minutes [first, behind) of a pinned history; how many rows that took. Blocks."""


class Ahead:
    """Follows the tables' commits. A step that fails is left out: whoever asks reads for himself."""

    def __init__(
        self,
        pins: PinCache,
        history: Warmable,
        learn: Learn,
        span_seconds: float,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`span_seconds`: states of the trades of so long ago and later are made; 0: none."""
        self._now_us = now_us
        self._pins, self._history, self._learn = pins, history, learn
        self._span_us = int(span_seconds) * 1_000_000
        self._seen: dict[RecordKind, int | None] = {}
        self._until_us = 0
        """Minutes before it were looked at."""
        self._waiting: list[tuple[int, int]] = []
        """Stretches of whole minutes, the newest last."""
        self._minutes = 1
        """Of the next step: so many as are read at once with the memory of one window."""
        self._stopped = threading.Event()
        self._failing = ""

    @property
    def idle(self) -> bool:
        """Nothing that was looked at waits."""
        return not self._waiting

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                took_seconds = await self.step()
                await asyncio.sleep(_LOOK_SECONDS if self.idle else took_seconds * _REST)
        finally:
            self._stopped.set()

    async def step(self) -> float:
        """Look at what is new, and make states of a few minutes; the seconds it took."""
        began = time.monotonic()
        try:
            for kind in _WARM:
                pin = self._pins.current(kind)
                if pin.snapshot_id is not None and pin.snapshot_id != self._seen.get(kind):
                    self._seen[kind] = pin.snapshot_id
                    await asyncio.to_thread(self._look, kind, pin)
            if self._waiting:
                await asyncio.to_thread(self._next, self._pins.current(RecordKind.TRADES))
            self._failing = ""
        except (QueryError, LakeError) as error:
            if str(error) != self._failing:
                logger.info("bars are not made ahead", extra={"error": str(error)})
            self._failing = str(error)
        return time.monotonic() - began

    def _look(self, kind: RecordKind, pin: Pin) -> None:
        self._history.warm(pin)
        if kind is not RecordKind.TRADES or not self._span_us:
            return
        from_us = (self._now_us() - self._span_us) // MINUTE_US * MINUTE_US
        newest_us = self._history.plan(pin, Predicate(from_us=from_us), ("timestamp",)).newest_us
        if newest_us is None:
            return
        behind_us = (newest_us - _SETTLED_US) // MINUTE_US * MINUTE_US
        # After a rollback the same minutes come once more, from other files.
        first_us = max(min(self._until_us, behind_us), from_us)
        self._until_us = behind_us
        if first_us < behind_us:
            self._waiting.append((first_us, behind_us))

    def _next(self, pin: Pin) -> None:
        first_us, behind_us = self._waiting.pop()
        step_us = self._minutes * MINUTE_US
        from_us = max(first_us, (behind_us - 1) // step_us * step_us)
        if first_us < from_us:
            self._waiting.append((first_us, from_us))
        rows = self._learn(pin, self._history, from_us, behind_us, self._stopped)
        # None: there may have been too many, and a shorter step has fewer.
        fitting = WINDOW_ROWS * (behind_us - from_us) // (rows * MINUTE_US) if rows else 1
        self._minutes = max(1, min(fitting, _MOST_MINUTES))
