"""Where work is done: in the loop where it is small, beside it where it is not, and in threads of its own where it
waits for another service, so that what is slow holds up nothing but itself."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from seamark.query_gateway.errors import TooCostly

P = ParamSpec("P")
T = TypeVar("T")
_AGAIN_SECONDS = 1.0
_FEW_ROWS = 2_048
"""A thousand are put in order and written as text in two milliseconds, by hand; a thread of its own waits for a core,
and then the loop does."""


async def done_by_rows(rows: int, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What `work` makes of so many rows; beside the loop where they are many. It must wait for nobody."""
    return work(*given, **named) if rows <= _FEW_ROWS else await asyncio.to_thread(work, *given, **named)


class Threads:
    """A few threads, and room for so many that wait for one."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._most = threads + waiting
        self._pool = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Who leaves before its turn gives up the place.

        Raises:
            TooCostly: all threads are busy, and as many wait already as may.
        """
        with self._lock:
            if self._under_way >= self._most:
                raise TooCostly(
                    f"reads of {self._name} under way were {self._under_way}, must be fewer than {self._most}: "
                    f"ask again",
                    _AGAIN_SECONDS,
                )
            self._under_way += 1
        future = self._pool.submit(contextvars.copy_context().run, work)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _: Future[T]) -> None:
        with self._lock:
            self._under_way -= 1

    def close(self) -> None:
        """What runs may end; what waits does not begin."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class OwnThreads:
    """A source whose reads wait for another service, in threads of its own."""

    threads: Threads
