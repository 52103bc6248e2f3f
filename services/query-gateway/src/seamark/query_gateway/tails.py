"""The gRPC edge to the tail-cache: which replica holds what, and what to do when one fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.sources import Coverage, Range, TailRows
from seamark.rpc.client import open_channel
from seamark.rpc.frames import decode
from seamark.rpc.predicates import to_proto
from seamark.rpc.v1 import tail_pb2, tail_pb2_grpc
from seamark.stream.replicas import replicas_of


class _Restarted(Exception):
    """The replica's epoch changed between first and last frame."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    frame: pl.DataFrame | None
    coverage: tuple[Coverage, ...]


class TailReplicas:
    """A `TailSource` over replicas by ordinal."""

    def __init__(self, addresses: Sequence[str], replication: int) -> None:
        """`addresses`: host:port of each replica, in the order of their ordinals."""
        self._replication = replication
        self._channels = [open_channel(address) for address in addresses]
        self._stubs = [tail_pb2_grpc.TailServiceStub(channel) for channel in self._channels]

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def _owners(self, one: Range) -> Sequence[int]:
        return replicas_of(one.topic, one.where.partition, len(self._stubs), self._replication)

    async def read(
        self,
        kind: RecordKind,
        ranges: Sequence[Range],
        columns: Sequence[str],
        predicate: Predicate,
        deadline_seconds: float,
    ) -> TailRows:
        coverage: dict[StreamPartition, Coverage] = {}
        failed: dict[StreamPartition, str] = {}
        frames: list[pl.DataFrame] = []
        waiting = list(ranges)
        for attempt in range(self._replication):
            by_replica: dict[int, list[Range]] = {}
            for one in waiting:
                owners = self._owners(one)
                if attempt < len(owners):
                    by_replica.setdefault(owners[attempt], []).append(one)
            if not by_replica:
                break
            parts = await asyncio.gather(
                *(
                    self._read_replica(replica, kind, asked, columns, predicate, deadline_seconds)
                    for replica, asked in by_replica.items()
                )
            )
            waiting = []
            for asked, part in zip(by_replica.values(), parts, strict=True):
                if isinstance(part, str):
                    failed.update({one.where: part for one in asked})
                    waiting += asked
                    continue
                if part.frame is not None and len(part.frame):
                    frames.append(part.frame)
                given = {one.where: one for one in part.coverage}
                for one in asked:
                    if one.where in given:
                        coverage[one.where] = given[one.where]
                        failed.pop(one.where, None)
                    else:
                        failed[one.where] = "TAIL_UNASSIGNED"
                        waiting.append(one)
        return TailRows(pl.concat(frames) if frames else None, coverage, failed)

    async def _read_replica(
        self,
        replica: int,
        kind: RecordKind,
        ranges: Sequence[Range],
        columns: Sequence[str],
        predicate: Predicate,
        deadline_seconds: float,
    ) -> _Part | str:
        """A restart in the middle is answered by one more try; anything else is for a peer or for Kafka."""
        request = tail_pb2.ReadRangesRequest(
            table=kind.value,
            ranges=[
                tail_pb2.ReadRange(
                    stream_id=one.where.stream_id,
                    partition=one.where.partition,
                    from_offset=one.first,
                    to_offset=one.next,
                )
                for one in ranges
            ],
            columns=columns,
            predicate=to_proto(predicate),
        )
        reason = "TAIL_UNAVAILABLE"
        for _ in range(2):
            timeout = deadline_seconds - time.monotonic()
            if timeout <= 0:
                return reason
            try:
                return await _whole(self._stubs[replica].ReadRanges(request, timeout=timeout))
            except _Restarted:
                reason = "TAIL_RESTARTED"
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and reason != "TAIL_RESTARTED":
                    # A connection that broke under this call may be a restart that is over already.
                    reason = "TAIL_UNAVAILABLE"
                    continue
                return "TAIL_UNAVAILABLE"
        return reason

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        request = tail_pb2.GetWatermarksRequest(table=kind.value)
        timeout = max(0.001, deadline_seconds - time.monotonic())
        answers = await asyncio.gather(
            *(stub.GetWatermarks(request, timeout=timeout) for stub in self._stubs), return_exceptions=True
        )
        asked = {one.where for one in partitions}
        found: dict[StreamPartition, Coverage] = {}
        for answer in answers:
            if isinstance(answer, grpc.aio.AioRpcError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            for mark in answer.partitions:
                where = StreamPartition(mark.stream_id, mark.partition)
                best = found.get(where)
                here = Coverage(
                    where,
                    mark.lo,
                    mark.hi,
                    mark.lo,
                    mark.hi,
                    mark.end,
                    mark.append_us,
                    mark.end_as_of_us,
                    mark.stopped,
                )
                if where in asked and (best is None or _standing(best) < _standing(here)):
                    found[where] = here
        return found


def _standing(part: Coverage) -> tuple[int, bool, int]:
    """Who is further; of those that stand alike, who reads on, and who knows the end best."""
    return part.hi, not part.stopped, part.end_as_of_us


async def _whole(
    call: grpc.aio.UnaryStreamCall[tail_pb2.ReadRangesRequest, tail_pb2.ReadRangesResponse],
) -> _Part:
    header: tail_pb2.ReadHeader | None = None
    trailer: tail_pb2.ReadTrailer | None = None
    frames: list[bytes] = []
    async for message in call:
        which = message.WhichOneof("part")
        if which == "header":
            header = message.header
        elif which == "arrow":
            frames.append(message.arrow)
        else:
            trailer = message.trailer
    if header is None or trailer is None or header.epoch != trailer.epoch:
        raise _Restarted
    frame = None
    if trailer.rows:
        frame = pl.DataFrame(pa.Table.from_batches(decode(frames)))
        if len(frame) != trailer.rows:
            raise _Restarted
    coverage = tuple(
        Coverage(
            StreamPartition(part.stream_id, part.partition),
            part.from_offset,
            part.to_offset,
            part.lo,
            part.hi,
            part.end,
            part.append_us,
            part.end_as_of_us,
            part.stopped,
            part.committed_append_us,
        )
        for part in header.ranges
        if not part.unassigned
    )
    return _Part(frame, coverage)
