"""Wakes those who wait for more of the log. Nobody looks twice at what has not changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Arrivals:
    """Between the tail's thread, which says that there is more, and the event loop, where it is awaited."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """There is more to see. From any thread; costs next to nothing where nobody waits."""
        if self._waiting:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Whether `condition` became true before the deadline (monotonic clock)."""
        while not condition():
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.add(future)
            # What came between the look and the entry into the list woke nobody.
            if condition():
                self._waiting.discard(future)
                return True
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await future
            except TimeoutError:
                return condition()
            finally:
                self._waiting.discard(future)
        return True
