"""To wait for something, but not beyond the process's order to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


class Stopped(Exception):
    """The process was told to stop while it waited for something."""


async def unless_stopped(awaited: Awaitable[_T], stop: asyncio.Event) -> _T:
    """What `awaited` gives. Neither being cancelled nor stopping leaves it running.

    Raises:
        Stopped: as soon as `stop` is set.
    """
    task = asyncio.ensure_future(awaited)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Stopped
        return task.result()
    finally:
        for one in (task, stopping):
            one.cancel()
        await asyncio.wait((task, stopping))
