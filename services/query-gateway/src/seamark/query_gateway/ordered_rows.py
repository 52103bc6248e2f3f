"""Rows of an open table in the total order, window by window, with memory for one window."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress

import numpy as np
import polars as pl

from seamark.lake.errors import LakeError
from seamark.market.nearest import Nearest
from seamark.market.order import total_order
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Cancelled, Unavailable
from seamark.query_gateway.merge import Position, behind, inside, ordered, stacked, time_of
from seamark.query_gateway.reading import OpenTable
from seamark.query_gateway.running import Call
from seamark.query_gateway.sources import History, HistoryPlan, Window
from seamark.query_gateway.threads import OwnThreads, done_by_rows

WINDOW_ROWS = 250_000
"""Rows of a window where all are wanted, if all that is read of history matches."""
PAGE_WINDOW_ROWS = 50_000
"""Rows of a window where a page is wanted: the first is often enough."""
_FASTER = 4
"""As many times wider at most is the next window where few rows matched: Trino has a price by the window."""
_WIDEST = 8
"""Windows of the plan that are read as one at most: all their rows may match, and are held."""


def needed_columns(kind: RecordKind, asked: Sequence[str]) -> list[str]:
    """What must be read to give `asked` in order."""
    return list(dict.fromkeys((*asked, *total_order(kind))))


def tail_suffices(table: OpenTable, plan: HistoryPlan | None, nearest: Nearest) -> bool:
    """Whether all rows that are wanted are surely the tail's: so many of its rows are later than all of history."""
    newest_us = plan.newest_us if plan is not None else None
    if newest_us is None or not nearest.latest:
        return False
    count = 0
    for rows in table.tail:
        at_us = rows["timestamp"].cast(pl.Int64).to_numpy()
        wanted = at_us > newest_us
        if nearest.after_us is not None:
            wanted &= at_us < nearest.after_us
        count += int(np.count_nonzero(wanted))
    return count >= nearest.rows


async def ordered_frames(
    table: OpenTable,
    history: History,
    plan: HistoryPlan | None,
    columns: Sequence[str],
    call: Call,
    limit: int = 0,
    descending: bool = False,
    position: Position | None = None,
    stretches: Sequence[Window] | None = None,
) -> AsyncIterator[pl.DataFrame]:
    """Frames with `columns` (the order's among them), in order, also from one to the next.

    `limit`: windows behind the one that reaches it are not read; frames may hold more rows.
    `plan`: None where history is proven to hold nothing. `stretches`: rows of these times alone, ascending, each
    so short that all of them can be held; None: of all times.

    Raises:
        Cancelled: nobody waits any more.
        SnapshotGone: the snapshot's files are.
        TooCostly: history has threads of its own, and too many wait for one.
        Unavailable: history cannot be read.
    """
    kind = table.kind
    target_rows = PAGE_WINDOW_ROWS if limit else WINDOW_ROWS
    windows = [Window()]
    if stretches is not None:
        windows = [*stretches]
    elif plan is not None and kind.sequenced:  # windows of time do not follow the order of the log
        windows = list(plan.windows(target_rows))
    if descending:
        windows.reverse()
    if position is not None and kind.sequenced:
        windows = [window for window in windows if _touches(window, time_of(position), descending)]
    after = behind(kind, position, descending) if position is not None else None

    def read(window: Window) -> pl.DataFrame:
        """Blocking: one window's rows of both sides, in order."""
        frames: list[pl.DataFrame] = []
        if plan is not None:
            try:
                frames += history.read(plan, window, table.below, call.cancelled)
            except LakeError as error:
                would = plan.estimate
                raise Unavailable(
                    f"history of table {kind.value} cannot be read: {error} (this question reads up to "
                    f"{would.rows:,} rows, {would.bytes:,} bytes in {would.files:,} files)"
                ) from error
        condition = inside(window) if kind.sequenced else None
        for rows in table.tail:
            frames.append(rows if condition is None else rows.filter(condition))
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            return pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))
        if after is not None:
            frames = [frame.filter(after) for frame in frames]
        return ordered(frames, kind, columns, descending)

    async def read_apart(window: Window) -> pl.DataFrame:
        if plan is None:
            return await done_by_rows(sum(map(len, table.tail)), read, window)
        if isinstance(history, OwnThreads):
            return await history.threads.run(lambda: read(window))
        return await asyncio.to_thread(read, window)

    unread, given = deque(windows), 0
    # The next window is read while this one is sent; no further, or memory would hold them all.
    ahead: asyncio.Task[pl.DataFrame] | None = None
    try:
        together = _neighbours(unread, 1, descending)
        while together:
            frame = await (ahead or read_apart(_as_one(together, descending)))
            ahead = None
            enough = limit and given + len(frame) > limit
            together = _neighbours(unread, _next_width(len(together), len(frame), target_rows), descending)
            if together and not enough:
                ahead = asyncio.create_task(read_apart(_as_one(together, descending)))
            if call.cancelled.is_set():
                raise Cancelled("the query was cancelled")
            if len(frame):
                given += len(frame)
                yield frame
            if enough:
                return
    finally:
        if ahead is not None:
            ahead.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await ahead


async def collect(frames: AsyncIterator[pl.DataFrame]) -> pl.DataFrame | None:
    """All frames as one; None: no rows."""
    async with aclosing(frames):  # type: ignore[type-var]
        parts = [frame async for frame in frames]
    return stacked(parts) if parts else None


def _next_width(width: int, rows: int, target_rows: int) -> int:
    """How many windows to read as one, behind so many that gave `rows`."""
    return max(1, min(width * target_rows // max(rows, 1), width * _FASTER, _WIDEST))


def _neighbours(unread: deque[Window], most: int, descending: bool) -> list[Window]:
    """The next windows, as many as lie side by side and at most `most`, taken out of `unread`."""
    found: list[Window] = []
    while unread and len(found) < most:
        if found:
            earlier, later = (unread[0], found[-1]) if descending else (found[-1], unread[0])
            if earlier.to_us != later.from_us:
                break
        found.append(unread.popleft())
    return found


def _as_one(windows: Sequence[Window], descending: bool) -> Window:
    """Neighbours, in the order asked for, as one window."""
    earliest, latest = (windows[-1], windows[0]) if descending else (windows[0], windows[-1])
    return Window(earliest.from_us, latest.to_us)


def _touches(window: Window, at_us: int, descending: bool) -> bool:
    """Whether rows at or behind an instant may be in the window."""
    if descending:
        return window.from_us is None or window.from_us <= at_us
    return window.to_us is None or window.to_us > at_us
