"""One replica's reply, put together: header, rows, trailer, all of one epoch; in one message or in several.

Knows the messages of `ReadRanges`. Must not know which replica it is, or whom else to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.sources import Coverage
from seamark.rpc.frames import decode
from seamark.rpc.v1 import tail_pb2

_LARGE_BYTES = 1024**2
"""Of a reply that the event loop does not decode itself: others would wait for it."""


class Restarted(Exception):
    """The replica's epoch changed between first and last frame."""


class Silent(Exception):
    """The replica said nothing for as long as it was waited for."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a replica gave. `frame` None: no rows."""

    frame: pl.DataFrame | None
    coverage: tuple[Coverage, ...]
    pin_retention_seconds: float | None
    """So long the replica keeps rows after their commit; None: it does not say."""


async def whole_reply(
    call: grpc.aio.UnaryStreamCall[tail_pb2.ReadRangesRequest, tail_pb2.ReadRangesResponse],
    patience_seconds: float,
) -> Part:
    """Rows and coverage of a call. `patience_seconds`: at most between two messages.

    Raises:
        Silent, Restarted
    """
    header: tail_pb2.ReadHeader | None = None
    trailer: tail_pb2.ReadTrailer | None = None
    frames: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(patience_seconds):
                message = await call.read()
        except TimeoutError:
            call.cancel()
            raise Silent from None
        if not isinstance(message, tail_pb2.ReadRangesResponse):  # the end
            break
        which = message.WhichOneof("part")
        if which == "whole":
            header, trailer = message.whole.header, message.whole.trailer
            frames.append(message.whole.arrow)
        elif which == "header":
            header = message.header
        elif which == "arrow":
            frames.append(message.arrow)
        else:
            trailer = message.trailer
    if header is None or trailer is None or header.epoch != trailer.epoch:
        raise Restarted
    frame = None
    if trailer.rows:
        large = sum(map(len, frames)) > _LARGE_BYTES
        frame = await asyncio.to_thread(_frame, frames) if large else _frame(frames)
        if len(frame) != trailer.rows:
            raise Restarted
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
    said = header.HasField("pin_retention_seconds")
    return Part(frame, coverage, header.pin_retention_seconds if said else None)


def _frame(frames: Sequence[bytes]) -> pl.DataFrame:
    return pl.DataFrame(pa.Table.from_batches(decode(frames)))
