"""One run of a piece of work for all who need it at the same moment.

Knows who waits for what. Must not know what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from seamark.query_gateway.running import Call

T = TypeVar("T")

WAIT_SECONDS = 10.0
"""What one run may wait for the tail and for Kafka."""
RUN_SECONDS = 300.0
"""What one run may take, with history that is read for the first time."""
SHARE = 1 / 3
"""Of the time that a call has left: so long it waits for work that is not its own."""


def share_seconds(call: Call) -> float:
    """How long a call may wait for what others do for it, too."""
    return max(0.0, (call.deadline_seconds - time.monotonic()) * SHARE)


class SharedRun(Generic[T]):
    """Work of which one run goes on at a time, for all who wait. Used on one event loop."""

    def __init__(self, name: str, work: Callable[[Call], Awaitable[T]]) -> None:
        """`work` gets a call of its own: it goes on when whoever asked first does not wait any more."""
        self._name = name
        self._work = work
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    @property
    def idle(self) -> bool:
        """Nothing runs or will."""
        return self._next is None and (self._running is None or self._running.done())

    async def result(self, seconds: float) -> T:
        """What a run gives that begins now or later: what was there when it was asked for, it has seen.

        Raises:
            TimeoutError: not within `seconds`; the run goes on. Whatever the work raises.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            self._next.add_done_callback(_looked_at)
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        # Who asks from here on gets another run.
        self._running, self._next = self._next, None
        call = Call(self._name, "seamark", "", time.monotonic() + WAIT_SECONDS)
        try:
            async with asyncio.timeout(RUN_SECONDS):
                return await self._work(call)
        finally:
            call.cancelled.set()


def _looked_at(task: asyncio.Task[T]) -> None:
    """Nobody may wait for it any more; then its error is nobody's."""
    if not task.cancelled():
        task.exception()
