"""The gRPC edge: answers TailService from the store's views.

The event loop waits and sends; rows are found and encoded in threads, a piece at a time, as
fast as the asker takes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import PredicateInvalid
from seamark.market.schema import RecordKind
from seamark.rpc.errors import abort
from seamark.rpc.frames import LEAST_BYTES, encode
from seamark.rpc.predicates import from_proto
from seamark.rpc.server import deadline_seconds
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.tail_cache.arrivals import Arrivals
from seamark.tail_cache.partition import View
from seamark.tail_cache.reading import Asked, Covered, Reader, cover
from seamark.tail_cache.settings import TailSettings
from seamark.tail_cache.store import Store
from seamark.telemetry.metrics import TailMetrics

_MARGIN_SECONDS = 0.05
"""Before the caller's deadline, the answer begins with what there is: it must still get there."""

_RETRY_AFTER_MS = 50

Context = grpc.aio.ServicerContext[Any, Any]


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

    async def GetWatermarks(  # noqa: N802 - the contract's name
        self, request: tail_pb2.GetWatermarksRequest, context: Context
    ) -> tail_pb2.GetWatermarksResponse:
        kind = await _kind(request.table, context)
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
        kind = await _kind(request.table, context)
        outcome = "error"
        if self._reads >= self._most:
            self._metrics.reads.labels(kind.value, "refused").inc()
            await abort(
                context,
                market_data_pb2.ERROR_CODE_UNAVAILABLE,
                f"reads under way were {self._reads}, must be at most {self._most}: ask a peer",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        self._reads += 1
        try:
            async for message in self._read(kind, request, context):
                yield message
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._reads -= 1
            self._metrics.reads.labels(kind.value, outcome).inc()
            self._metrics.read_seconds.labels(kind.value).observe(time.monotonic() - began)

    async def _read(
        self, kind: RecordKind, request: tail_pb2.ReadRangesRequest, context: Context
    ) -> AsyncIterator[tail_pb2.ReadRangesResponse]:
        reader = await _reader(kind, request, context)
        deadline = deadline_seconds(context, self._longest_seconds) - _MARGIN_SECONDS
        asked = [_asked(one) for one in request.ranges]
        held = self._store.now.views[kind]
        asked = [
            replace(one, next=held[one.where].hi) if one.next is None and one.where in held else one
            for one in asked
        ]
        await self._arrivals.until(lambda: _reached(asked, self._store.now.views[kind]), deadline)
        now = self._store.now
        covered = [cover(one, now.views[kind].get(one.where)) for one in asked]
        yield tail_pb2.ReadRangesResponse(
            header=tail_pb2.ReadHeader(epoch=now.epoch, ranges=map(_coverage, covered))
        )
        answer = _Answer(reader, covered, request.max_rows or None)
        loop = asyncio.get_running_loop()
        try:
            # A thread is held while a piece is made, not while it is taken: slow askers wait for themselves.
            while not answer.over:
                yield tail_pb2.ReadRangesResponse(
                    arrow=await loop.run_in_executor(self._threads, answer.piece)
                )
        except _TooMany as error:
            await abort(context, market_data_pb2.ERROR_CODE_TOO_COSTLY, str(error), field="max_rows")
        # Rows of a view stay what they are, unless they were found wrong meanwhile.
        yield tail_pb2.ReadRangesResponse(
            trailer=tail_pb2.ReadTrailer(epoch=self._store.now.epoch, rows=answer.rows)
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _TooMany(Exception):
    """More rows than the asker wants."""


class _Answer:
    """Rows of an answer as pieces of one Arrow stream, made when they are asked for."""

    def __init__(self, reader: Reader, covered: Sequence[Covered], most_rows: int | None) -> None:
        self._batches = reader.batches(covered)
        self._frames = encode(reader.schema, self._counted())
        self._most_rows = most_rows
        self.rows = 0
        self.over = False

    def piece(self) -> bytes:
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
                raise _TooMany(f"rows were more than max_rows, which was {self._most_rows}")
            yield batch


async def _kind(table: str, context: Context) -> RecordKind:  # noqa: RET503 - abort raises
    try:
        return RecordKind(table)
    except ValueError:
        allowed = ", ".join(kind.value for kind in RecordKind)
        message = f"table was {table[:64]!r}, must be one of {allowed}"
    await abort(context, market_data_pb2.ERROR_CODE_INVALID, message, field="table")


async def _reader(kind: RecordKind, request: tail_pb2.ReadRangesRequest, context: Context) -> Reader:  # noqa: RET503
    try:
        return Reader(kind, list(request.columns), from_proto(kind, request.predicate))
    except PredicateInvalid as error:
        message, field = str(error), error.field
    await abort(context, market_data_pb2.ERROR_CODE_INVALID, message, field=field)


def _asked(one: tail_pb2.ReadRange) -> Asked:
    where = StreamPartition(one.stream_id, one.partition)
    return Asked(where, one.from_offset, one.to_offset if one.HasField("to_offset") else None)


def _reached(asked: Sequence[Asked], views: Mapping[StreamPartition, View]) -> bool:
    """Whether waiting on would bring nothing more."""
    for one in asked:
        view = views.get(one.where)
        if view is not None and view.stopped is None and one.next is not None and view.hi < one.next:
            return False
    return True


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
    )
    times = view.times()
    if "timestamp" in times:
        message.min_event_us, message.max_event_us = times["timestamp"]
    if "ingestion_timestamp" in times:
        message.min_receive_us, message.max_receive_us = times["ingestion_timestamp"]
    return message
