"""How far the log was when it was last looked at: what an estimate adds for rows that are in no file yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from seamark.lake.checkpoint import StreamPartition
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.query_gateway.seam import start_of


class SeenEnds:
    """Greatest offsets seen, by table. Every answer looks, and so does readiness, every few seconds."""

    def __init__(self) -> None:
        self._ends: dict[RecordKind, dict[StreamPartition, int]] = {}

    def note(self, kind: RecordKind, ends: Vector) -> None:
        known = self._ends.setdefault(kind, {})
        for where, offset in ends.items():
            known[where] = max(offset, known.get(where, 0))

    def records_behind(self, pin: Pin, symbols: Sequence[str]) -> int:
        """Most rows from H(pin) on, as far as is known, in partitions that `symbols` can be in; none: all."""
        kind = RecordKind(pin.table)
        known = self._ends.get(kind, {})
        by_symbol = bool(symbols) and kind is not RecordKind.FEED_EVENTS  # whose key is no symbol

        def meant(where: StreamPartition) -> bool:
            routing = routing_of(pin.streams[where.stream_id].routing)
            return any(routing.partition_of(symbol) == where.partition for symbol in symbols)

        return sum(
            known.get(where, 0) - start_of(pin, where)
            for where in pin.open_partitions
            if known.get(where, 0) > start_of(pin, where) and (not by_symbol or meant(where))
        )


@lru_cache(maxsize=64)
def routing_of(text: str) -> Routing:
    """A stream's routing, parsed once: every question about a symbol asks for it."""
    return Routing.from_json(text)
