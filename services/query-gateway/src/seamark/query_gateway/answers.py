"""The answering core as both edges see it, and how long they wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa

from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.errors import Unavailable
from seamark.query_gateway.header import Estimate, SnapshotInfo, Watermark
from seamark.query_gateway.question import AsOfQuestion, BarsQuestion, Consistency, Question
from seamark.query_gateway.running import Call

T = TypeVar("T")


class Answers(Protocol):
    """The answering core (`gateway.Gateway`). Methods raise QueryError."""

    async def query(self, question: Question, call: Call) -> Answer: ...

    async def bars(self, question: BarsQuestion, call: Call) -> Answer: ...

    async def as_of(self, question: AsOfQuestion, call: Call) -> Answer: ...

    async def instruments(self, symbols: tuple[str, ...], consistency: Consistency, call: Call) -> Answer: ...

    async def estimate(self, question: Question) -> Estimate: ...

    async def snapshots(self, kind: RecordKind) -> list[SnapshotInfo]: ...

    async def watermark(self, kind: RecordKind, call: Call) -> Watermark: ...


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What one answer may be."""

    page_rows: int
    """Most rows of a page that is put together before it is sent."""
    default_rows: int
    """Rows of JSON where no limit is given."""
    export_rows: int
    """Most rows of an answer without pages, by the estimate."""
    join_rows: int
    """Most rows read for a join, by the estimate: it is made in memory."""
    write_timeout_seconds: float
    """A client that takes nothing for so long is given up."""
    timeout_seconds: float
    """Until an answer begins and between its parts, where the request does not say."""
    most_timeout_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is to be answered, and what it may take."""

    open: Callable[[Call], Awaitable[Answer]]
    read: tuple[Question, ...]
    """Rows that are read for it: what it is charged for."""
    limit: int = 0
    """Rows of a page; 0: all."""
    most_rows: int = 0
    """Refused if the estimate is above; 0: never."""


async def opened(work: Callable[[Call], Awaitable[T]], call: Call) -> T:
    """What `work` gives before the call's deadline.

    Raises:
        Unavailable: it takes longer. Whatever `work` raises.
    """
    seconds = call.deadline_seconds - time.monotonic()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work(call)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unavailable(f"there was no answer within {seconds:.1f} s, the timeout of the request") from None


async def next_batch(answer: Answer, seconds: float) -> pa.RecordBatch | None:
    """The next rows of an answer; None: that was all.

    Raises:
        Unavailable: they do not come within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            return await anext(answer.batches, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unavailable(
            f"there were no more rows within {seconds:g} s, the timeout of the request"
        ) from None


async def close(batches: AsyncIterator[pa.RecordBatch]) -> None:
    """Give up what was not taken: cancels the work behind it."""
    aclose = getattr(batches, "aclose", None)
    if aclose is not None:
        await aclose()
