"""Requests that are being answered: who asked, until when, and how to stop them."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from seamark.query_gateway.errors import Cancelled


@dataclass(slots=True)
class Call:
    """One request."""

    query_id: str
    caller: str
    correlation_id: str
    deadline_seconds: float = field(default_factory=lambda: time.monotonic() + 30.0)
    """By the monotonic clock."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits any more: threads behind the request look at it."""
    rows: int = 0
    """Given so far."""


@dataclass(frozen=True, slots=True)
class Running:
    """A request as others see it."""

    query_id: str
    caller: str
    text: str
    began_at: float
    """Monotonic seconds."""
    rows: int


@dataclass(slots=True, eq=False)
class _Entry:
    call: Call
    text: str
    began_at: float
    task: asyncio.Task[object]
    stopped: str = ""


class Registry:
    """All requests of this process. Used on one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    @asynccontextmanager
    async def begin(
        self, caller: str, text: str, timeout_seconds: float, correlation_id: str = ""
    ) -> AsyncIterator[Call]:
        """A request of the current task, until the block ends.

        Raises:
            Cancelled: `cancel` was called meanwhile; the block was interrupted at an await.
        """
        task = asyncio.current_task()
        assert task is not None, "requests are answered by tasks"
        now = time.monotonic()
        call = Call(uuid.uuid4().hex, caller, correlation_id, now + timeout_seconds)
        entry = _Entry(call, text, now, task)
        self._entries[call.query_id] = entry
        try:
            yield call
        except asyncio.CancelledError:
            # Of a task that was also cancelled from outside, the outside has precedence.
            if entry.stopped and task.uncancel() == 0:
                raise Cancelled(entry.stopped) from None
            raise
        finally:
            call.cancelled.set()
            del self._entries[call.query_id]

    def cancel(self, query_id: str, reason: str = "stopped by a request to do so") -> bool:
        """Stop a request; False if there is none of that id."""
        entry = self._entries.get(query_id)
        if entry is None:
            return False
        if not entry.stopped:
            entry.stopped = reason
            entry.call.cancelled.set()
            entry.task.cancel()
        return True

    def running(self) -> list[Running]:
        """Oldest first."""
        return [
            Running(entry.call.query_id, entry.call.caller, entry.text, entry.began_at, entry.call.rows)
            for entry in self._entries.values()
        ]
