"""Streams that take no more rows, in cursors: by their ids instead of their offsets. Pure.

A table keeps every stream it ever had, so a vector grows with each topic that is made anew. Where E of
a stream is the end of its rows, the table itself knows the offsets.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.cursor import Ended
from seamark.query_gateway.errors import Gone
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector


def without_ended(pin: Pin, end: Vector) -> tuple[Vector, Ended | None]:
    """E without the streams that have ended and all of whose rows are below it, and those."""
    if pin.doubt:
        return end, None
    ended = frozenset(
        stream_id
        for stream_id in {where.stream_id for where in end} - _open(pin)
        if _of((stream_id,), end) == (last := _last(pin, (stream_id,))) and last
    )
    if not ended:
        return end, None
    rest = {where: offset for where, offset in end.items() if where.stream_id not in ended}
    return rest, Ended(ended, _mark(_last(pin, ended)))


def knows_ended(pin: Pin, ended: Ended) -> bool:
    """Whether the pin is new enough to say where these streams end."""
    return pin.streams.keys() >= ended.streams and not ended.streams & _open(pin)


def with_ended(pin: Pin, end: Vector, ended: Ended) -> Vector:
    """E as it was before `without_ended`, by a pin that `knows_ended` or is the newest.

    Raises:
        Gone: the streams do not end there any more: somebody has moved the table back.
    """
    last = _last(pin, ended.streams)
    if not knows_ended(pin, ended) or _mark(last) != ended.mark:
        names = ", ".join(map(str, sorted(ended.streams)))
        raise Gone(
            f"streams {names} of table {pin.table} had ended for the cursor and do not end there any more: "
            f"the table was moved back"
        )
    return {**end, **last}


def _open(pin: Pin) -> set[int]:
    return {where.stream_id for where in pin.open_partitions}


def _of(streams: Iterable[int], vector: Vector) -> dict[StreamPartition, int]:
    wanted = frozenset(streams)
    return {where: offset for where, offset in vector.items() if where.stream_id in wanted}


def _last(pin: Pin, streams: Iterable[int]) -> dict[StreamPartition, int]:
    """The last H of streams that have ended: the table's, whichever snapshot is pinned."""
    return _of(streams, {where: point.next for where, point in pin.view.checkpoints.items()})


def _mark(vector: Vector) -> int:
    return zlib.crc32(",".join(f"{where}:{offset}" for where, offset in sorted(vector.items())).encode())
