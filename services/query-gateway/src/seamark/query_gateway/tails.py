"""The gRPC edge to the tail-cache: which replica holds what, and what to do when one fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence

import grpc
import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.nearest import Nearest
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.sources import Coverage, Range, TailRows
from seamark.query_gateway.tail_pieces import BUSY, TailPieces
from seamark.query_gateway.tail_reply import Part, Restarted, Silent, whole_reply
from seamark.rpc.client import open_channel
from seamark.rpc.errors import rpc_error
from seamark.rpc.predicates import to_proto
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.stream.replicas import replicas_of

logger = logging.getLogger(__name__)

PIN_MARGIN_SECONDS = 30.0
"""A replica keeps rows for so much longer than the longest answer takes: a pin may be as old when it begins."""
_PATIENCE_SHARE = 0.4
"""Of what is left of the deadline: so long a replica may say nothing while a peer could be asked."""
_MOST_PATIENCE_SECONDS = 2.0
_LEAST_SECONDS = 0.5
"""What is left is not divided any more when it is less."""
_AVOIDED_SECONDS = 5.0
"""Who kept silent so recently is asked after its peers."""
_STANDS_SECONDS = 0.5
"""So long it counts how far a replica said that it is."""
_GLANCE_SECONDS = 0.2
"""Where it stands is waited for so long of who kept silent recently."""
_MOST_PAUSE_SECONDS = 0.25
"""Before a replica that has too many reads is asked once more."""


class TailReplicas:
    """A `TailSource` over replicas by ordinal."""

    def __init__(
        self,
        addresses: Sequence[str],
        replication: int,
        most_rows: int = 0,
        longest_answer_seconds: float = 0.0,
    ) -> None:
        """`addresses`: host:port of each replica, in the order of their ordinals. `most_rows`: that one answer
        may take of a replica, for they are held at once; 0: any. `longest_answer_seconds`: replicas that keep
        rows for less than `PIN_MARGIN_SECONDS` beyond it are warned about."""
        self._addresses = addresses
        self._replication = replication
        self._least_retention_seconds = longest_answer_seconds + PIN_MARGIN_SECONDS
        self._retention: dict[int, float] = {}
        """As each replica said last, seconds."""
        self._most_rows = most_rows
        self._channels = [open_channel(address) for address in addresses]
        self._stubs = [tail_pb2_grpc.TailServiceStub(channel) for channel in self._channels]
        self._silent: dict[int, float] = {}
        """When a replica was last given up because it said nothing, by the monotonic clock."""
        self._stood: dict[tuple[int, RecordKind], tuple[float, dict[StreamPartition, int]]] = {}
        """When a replica last said how far it is (monotonic), and what it said."""

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
        nearest: Nearest | None = None,
    ) -> TailRows:
        groups: dict[tuple[int, ...], list[Range]] = {}
        for one in ranges:
            groups.setdefault(tuple(self._owners(one)), []).append(one)
        request = self._request(kind, columns, predicate, nearest)
        gathered = await asyncio.gather(
            *(
                self._gather(owners, kind, asked, request, deadline_seconds)
                for owners, asked in groups.items()
            )
        )
        coverage: dict[StreamPartition, Coverage] = {}
        failed: dict[StreamPartition, str] = {}
        for pieces in gathered:
            coverage |= pieces.coverage
            failed |= pieces.failed
        frames = [frame for pieces in gathered for frame in pieces.frames]
        return TailRows(pl.concat(frames) if frames else None, coverage, failed)

    def _request(
        self, kind: RecordKind, columns: Sequence[str], predicate: Predicate, nearest: Nearest | None
    ) -> tail_pb2.ReadRangesRequest:
        """What every replica is asked alike: all but the ranges."""
        request = tail_pb2.ReadRangesRequest(
            table=kind.value,
            columns=columns,
            predicate=to_proto(predicate),
            max_rows=self._most_rows,
            accepts_whole=True,
        )
        if nearest is not None:
            request.nearest.rows, request.nearest.latest = nearest.rows, nearest.latest
            if nearest.after_us is not None:
                request.nearest.after_us = nearest.after_us
        return request

    async def _gather(
        self,
        owners: Sequence[int],
        kind: RecordKind,
        ranges: Sequence[Range],
        request: tail_pb2.ReadRangesRequest,
        deadline_seconds: float,
    ) -> TailPieces:
        """Ask the owners in turn for what is still missing. Who keeps silent, or waits for offsets that
        it does not have yet, is left for the next one and asked again after it."""
        pieces = TailPieces(ranges)
        turns = deque(
            sorted(owners, key=lambda replica: self._avoided(replica) or self._behind(replica, kind, ranges))
        )
        while turns and (rest := pieces.rest()):
            replica = turns.popleft()
            for asked in rest:
                left = deadline_seconds - time.monotonic()
                if left <= 0:
                    pieces.fail(asked, "TAIL_UNAVAILABLE")
                    turns.clear()
                    break
                patience = left
                if turns and left > _LEAST_SECONDS:
                    patience = min(_MOST_PATIENCE_SECONDS, left * _PATIENCE_SHARE)
                try:
                    part = await self._read_replica(replica, asked, request, deadline_seconds, patience)
                except Silent:
                    self._silent[replica] = time.monotonic()
                    pieces.fail(asked, "TAIL_UNAVAILABLE")
                    turns.append(replica)
                    break
                if isinstance(part, str):
                    pieces.fail(asked, part)
                    continue
                self._silent.pop(replica, None)
                pieces.take(asked, part.frame, part.coverage)
        return pieces

    def _avoided(self, replica: int) -> bool:
        return time.monotonic() - self._silent.get(replica, -_AVOIDED_SECONDS) < _AVOIDED_SECONDS

    def _behind(self, replica: int, kind: RecordKind, ranges: Sequence[Range]) -> bool:
        """Whether it said just now that it does not have all of these."""
        asked_at, stood = self._stood.get((replica, kind), (0.0, {}))
        return time.monotonic() - asked_at < _STANDS_SECONDS and any(
            one.next is not None and stood.get(one.where, one.next) < one.next for one in ranges
        )

    async def _read_replica(
        self,
        replica: int,
        ranges: Sequence[Range],
        request: tail_pb2.ReadRangesRequest,
        deadline_seconds: float,
        patience_seconds: float,
    ) -> Part | str:
        """A restart in the middle, or too many reads, are answered by one more try; anything else is for a peer
        or for Kafka.

        Raises:
            Silent: for so long nothing came.
            TooCostly: more rows match than one answer may take.
        """
        asked = tail_pb2.ReadRangesRequest()
        asked.CopyFrom(request)
        for one in ranges:
            asked.ranges.add(
                stream_id=one.where.stream_id,
                partition=one.where.partition,
                from_offset=one.first,
                to_offset=one.next,
            )
        reason = "TAIL_UNAVAILABLE"
        for _ in range(2):
            timeout = deadline_seconds - time.monotonic()
            if timeout <= 0:
                return reason
            try:
                part = await whole_reply(
                    self._stubs[replica].ReadRanges(asked, timeout=timeout), patience_seconds
                )
                self._note_retention(replica, part.pin_retention_seconds)
                return part
            except Restarted:
                reason = "TAIL_RESTARTED"
            except grpc.aio.AioRpcError as error:
                said = rpc_error(error)
                if said is not None and said.code == market_data_pb2.ERROR_CODE_TOO_COSTLY:
                    raise TooCostly(
                        f"more than {self._most_rows:,} rows that are not in the lake yet match: ask for fewer "
                        f"symbols or a shorter time"
                    ) from error
                if (pause_seconds := _pause(error, said)) is not None:
                    reason = BUSY
                    await asyncio.sleep(min(pause_seconds, max(0.0, deadline_seconds - time.monotonic())))
                    continue
                if error.code() is grpc.StatusCode.UNAVAILABLE and reason != "TAIL_RESTARTED":
                    # A connection that broke under this call may be a restart that is over already.
                    reason = "TAIL_UNAVAILABLE"
                    continue
                return "TAIL_UNAVAILABLE"
        return reason

    def _note_retention(self, replica: int, seconds: float | None) -> None:
        """Settings of two processes that must fit: said where they meet, once. Answers stay exact all the same:
        what was evicted under an old pin comes from the newest snapshot, or is named as missing."""
        if seconds is None or self._retention.get(replica) == seconds:
            return
        self._retention[replica] = seconds
        if seconds < self._least_retention_seconds:
            logger.warning(
                f"SEAMARK_PIN_RETENTION_SECONDS of a tail replica was {seconds:g}, must be at least "
                f"{self._least_retention_seconds:g}: {PIN_MARGIN_SECONDS:g} more than "
                f"SEAMARK_MOST_TIMEOUT_SECONDS of this gateway",
                extra={"replica": self._addresses[replica]},
            )

    async def positions(
        self, kind: RecordKind, partitions: Sequence[Range], deadline_seconds: float
    ) -> Mapping[StreamPartition, Coverage]:
        request = tail_pb2.GetWatermarksRequest(table=kind.value)
        timeout = max(0.001, deadline_seconds - time.monotonic())
        answers = await asyncio.gather(
            *(
                stub.GetWatermarks(
                    request, timeout=min(timeout, _GLANCE_SECONDS) if self._avoided(replica) else timeout
                )
                for replica, stub in enumerate(self._stubs)
            ),
            return_exceptions=True,
        )
        asked = {one.where for one in partitions}
        found: dict[StreamPartition, Coverage] = {}
        for replica, answer in enumerate(answers):
            if isinstance(answer, grpc.aio.AioRpcError):
                if answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED and timeout > _GLANCE_SECONDS:
                    self._silent[replica] = time.monotonic()
                continue
            if isinstance(answer, BaseException):
                raise answer
            self._stood[replica, kind] = (
                time.monotonic(),
                {StreamPartition(mark.stream_id, mark.partition): mark.hi for mark in answer.partitions},
            )
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


def _pause(error: grpc.aio.AioRpcError, said: market_data_pb2.Error | None) -> float | None:
    """How soon to ask again one that reads for too many already; None: that is not what it said."""
    if said is not None and said.retry_after_ms:
        return min(said.retry_after_ms / 1000, _MOST_PAUSE_SECONDS)
    return _MOST_PAUSE_SECONDS if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else None
