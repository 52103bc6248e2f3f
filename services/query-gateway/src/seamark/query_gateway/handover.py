"""Parts of an answer on their way from the task that makes them to the one that sends them."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from seamark.query_gateway.errors import Cancelled

T = TypeVar("T")


class Handover(Generic[T]):
    """One part at a time from who makes it to who sends it."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._free = asyncio.Semaphore()
        self._parts: asyncio.Queue[T | None] = asyncio.Queue()

    async def give(self, part: T) -> None:
        """Raises Cancelled: the part before was not taken in time."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Cancelled(f"the client took nothing for {self._timeout_seconds:g} s") from None
        self._parts.put_nowait(part)

    async def take(self) -> T | None:
        """None: that was all."""
        part = await self._parts.get()
        self._free.release()
        return part

    def end(self) -> None:
        self._parts.put_nowait(None)
