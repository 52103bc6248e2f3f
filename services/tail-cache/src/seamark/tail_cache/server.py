"""The gRPC edge: answers TailService from the store's views.

The event loop waits and sends; rows are found and encoded in threads, a piece at a time, as
fast as the asker takes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import pyarrow as pa

from seamark.rpc.errors import abort
from seamark.rpc.frames import LEAST_BYTES, encode
from seamark.rpc.server import deadline_seconds
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.tail_cache.arrivals import Arrivals
from seamark.tail_cache.blocks import Resident
from seamark.tail_cache.partition import View
from seamark.tail_cache.question import Question, RequestInvalid, kind_of, question_of
from seamark.tail_cache.reading import Covered, Reader, cover
from seamark.tail_cache.settings import TailSettings
from seamark.tail_cache.store import Store
from seamark.telemetry.metrics import TailMetrics

_MARGIN_SECONDS = 0.05
"""Before the caller's deadline, the answer begins with what there is: it must still get there."""

_RETRY_AFTER_MS = 50
_FEW_OFFSETS = 256
"""So many are looked at in the loop, where no file is read for them: they are fewer rows than the smallest indexed
block has."""

Context = grpc.aio.ServicerContext[Any, Any]
Asking = TypeVar("Asking")
Meant = TypeVar("Meant")


class TailService(tail_pb2_grpc.TailServiceServicer):
    """Answers from views; holds nothing itself."""

    def __init__(
        self,
        store: Store,
        arrivals: Arrivals,
        metrics: TailMetrics,
        settings: TailSettings,
    ) -> None:
        self._store = store
        self._arrivals = arrivals
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(settings.concurrent_reads, "read")
        self._most = settings.concurrent_reads + settings.waiting_reads
        self._reads = 0
        self._longest_seconds = settings.longest_read_seconds
        self._retention_seconds = settings.pin_retention_seconds

    async def GetWatermarks(  # noqa: N802 - the contract's name
        self, request: tail_pb2.GetWatermarksRequest, context: Context
    ) -> tail_pb2.GetWatermarksResponse:
        kind = await _understood(kind_of, request.table, context)
        now = self._store.now
        # Times of blocks that nobody asked for before are found now: not in the loop.
        partitions = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: [_watermark(view) for view in now.views[kind].values()]
        )
        return tail_pb2.GetWatermarksResponse(epoch=now.epoch, partitions=partitions)

    async def ReadRanges(  # noqa: N802
        self, request: tail_pb2.ReadRangesRequest, context: Context
    ) -> AsyncIterator[tail_pb2.ReadRangesResponse]:
        began = time.monotonic()
        question = await _understood(question_of, request, context)
        table = question.kind.value
        if self._reads >= self._most:
            self._metrics.reads.labels(table, "refused").inc()
            await abort(
                context,
                market_data_pb2.ERROR_CODE_UNAVAILABLE,
                f"reads under way were {self._reads}, must be at most {self._most}: ask a peer",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        self._reads += 1
        self._metrics.reads_under_way.set(self._reads)
        outcome = "cut_short"
        try:
            deadline = deadline_seconds(context, self._longest_seconds) - _MARGIN_SECONDS
            async for message in self._answer(question, deadline):
                yield message
            outcome = "answered"
        except _TooMany as error:
            await abort(context, market_data_pb2.ERROR_CODE_TOO_COSTLY, str(error), field="max_rows")
        finally:
            self._reads -= 1
            self._metrics.reads_under_way.set(self._reads)
            self._metrics.reads.labels(table, outcome).inc()
            self._metrics.read_seconds.labels(table).observe(time.monotonic() - began)

    async def _answer(
        self, question: Question, deadline: float
    ) -> AsyncIterator[tail_pb2.ReadRangesResponse]:
        question = question.at(self._store.now.views[question.kind])
        await self._arrivals.until(
            lambda: question.answerable(self._store.now.views[question.kind]), deadline
        )
        now = self._store.now
        covered = [cover(one, now.views[question.kind].get(one.where)) for one in question.asked]
        header = tail_pb2.ReadHeader(
            epoch=now.epoch,
            ranges=map(_coverage, covered),
            pin_retention_seconds=self._retention_seconds,
        )
        pieces = _Pieces(question.reader, covered, question.most_rows)
        offsets = sum(one.next - one.first for one in covered)
        quick = offsets <= _FEW_OFFSETS and all(map(_in_memory, covered))
        piece = pieces.next() if quick else await self._in_thread(pieces.next)
        if pieces.over and question.accepts_whole:
            arrow = piece if pieces.rows else b""
            yield tail_pb2.ReadRangesResponse(
                whole=tail_pb2.WholeReply(header=header, arrow=arrow, trailer=self._trailer(pieces))
            )
            return
        yield tail_pb2.ReadRangesResponse(header=header)
        yield tail_pb2.ReadRangesResponse(arrow=piece)
        # A thread is held while a piece is made, not while it is taken: slow askers wait for themselves.
        while not pieces.over:
            yield tail_pb2.ReadRangesResponse(arrow=await self._in_thread(pieces.next))
        yield tail_pb2.ReadRangesResponse(trailer=self._trailer(pieces))

    def _trailer(self, pieces: _Pieces) -> tail_pb2.ReadTrailer:
        # Rows of a view stay what they are, unless they were found wrong meanwhile.
        return tail_pb2.ReadTrailer(epoch=self._store.now.epoch, rows=pieces.rows)

    async def _in_thread(self, call: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _TooMany(Exception):
    """More rows than the asker wants."""


class _Pieces:
    """Rows of an answer as pieces of one Arrow stream, made when they are asked for."""

    def __init__(self, reader: Reader, covered: Sequence[Covered], most_rows: int | None) -> None:
        self._batches = reader.batches(covered)
        self._frames = encode(reader.schema, self._counted())
        self._most_rows = most_rows
        self.rows = 0
        self.over = False

    def next(self) -> bytes:
        """The next frames together, so many that a message is worth it.

        Raises:
            _TooMany: there are more rows than `most_rows`.
        """
        frames = list[bytes]()
        while not self.over and sum(map(len, frames)) < LEAST_BYTES:
            frame = next(self._frames, None)
            self.over = frame is None
            frames.append(frame or b"")
        return b"".join(frames)

    def _counted(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            if self._most_rows is not None and self.rows > self._most_rows:
                raise _TooMany(f"rows were {self.rows} or more, must be at most {self._most_rows} (max_rows)")
            yield batch


async def _understood(parse: Callable[[Asking], Meant], request: Asking, context: Context) -> Meant:
    try:
        return parse(request)
    except RequestInvalid as error:
        message, field = str(error), error.field
    return await abort(context, market_data_pb2.ERROR_CODE_INVALID, message, field=field)


def _in_memory(covered: Covered) -> bool:
    """Whether no block is on disk that these offsets lie in; of an empty range, that they lie within."""
    blocks = covered.view.blocks if covered.view is not None else ()
    return all(
        isinstance(block.rows, Resident)
        for block in blocks
        if block.lo < covered.next and block.hi > covered.first
    )


def _coverage(covered: Covered) -> tail_pb2.RangeCoverage:
    where, view = covered.asked.where, covered.view
    coverage = tail_pb2.RangeCoverage(
        stream_id=where.stream_id,
        partition=where.partition,
        from_offset=covered.first,
        to_offset=covered.next,
        unassigned=view is None,
    )
    if view is not None:
        coverage.lo, coverage.hi, coverage.end, coverage.append_us = (
            view.lo,
            view.hi,
            view.end,
            view.append_us,
        )
        coverage.end_as_of_us, coverage.stopped = view.end_as_of_us, view.halted
        coverage.committed_append_us = view.appended_us(covered.asked.first) or 0
    return coverage


def _watermark(view: View) -> tail_pb2.PartitionWatermark:
    message = tail_pb2.PartitionWatermark(
        stream_id=view.where.stream_id,
        partition=view.where.partition,
        topic=view.topic.topic,
        lo=view.lo,
        hi=view.hi,
        end=view.end,
        committed=view.committed.next,
        append_us=view.append_us,
        ready=view.ready,
        end_as_of_us=view.end_as_of_us,
        stopped=view.halted,
    )
    times = view.times()
    if "timestamp" in times:
        message.min_event_us, message.max_event_us = times["timestamp"]
    if "ingestion_timestamp" in times:
        message.min_receive_us, message.max_receive_us = times["ingestion_timestamp"]
    return message
