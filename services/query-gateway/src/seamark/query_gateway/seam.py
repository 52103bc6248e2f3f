"""Where stream and lake meet: from what tail, log and table say to one vector E, or to what is missing. Pure.

answer(S, E) = history(S) ∪ rows of the log with H(S) ≤ offset < E, partition by partition. E is
decided once, from what the tail held at one moment; everything after that only serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.query_gateway.header import Missing
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.query_gateway.sources import Coverage, Range


def start_of(pin: Pin, where: StreamPartition) -> int:
    """H(S) of a partition; of a stream that S does not know yet, where its rows begin."""
    found = pin.watermark.get(where)
    return pin.streams[where.stream_id].start[where.partition] if found is None else found


def asked_ranges(pin: Pin, end: Vector | None, floor: Vector) -> list[Range]:
    """What the tail is asked for.

    `end`: E where it is given (a cursor's, a time's); partitions that it does not name are not part of
    the answer. Else the tail's own moment decides, but at least `floor`.
    """
    ranges = []
    for where in pin.open_partitions:
        if end is not None and where not in end:
            continue
        first = start_of(pin, where)
        to = floor.get(where) if end is None else end[where]
        if to is not None and to <= first:
            if end is not None:
                continue  # history alone has it
            to = None
        ranges.append(Range(where, pin.topic_of(where), first, to))
    return ranges


def end_vector(
    pin: Pin, end: Vector | None, coverage: Mapping[StreamPartition, Coverage]
) -> dict[StreamPartition, int]:
    """E: as given, else what the tail reached, and never below H(S)."""
    if end is not None:
        return dict(end)
    reached = {where: start_of(pin, where) for where in (*pin.watermark, *pin.open_partitions)}
    for where, part in coverage.items():
        reached[where] = max(reached[where], part.next)
    return reached


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets [first, next) that the tail did not give; `next` None: to the log's end."""

    where: StreamPartition
    first: int
    next: int | None
    reason: str


def holes(
    pin: Pin,
    asked: list[Range],
    coverage: Mapping[StreamPartition, Coverage],
    failed: Mapping[StreamPartition, str],
) -> list[Hole]:
    """What is between H(S) and E and was not given, with `pin` perhaps newer than the one that was asked with."""
    found = []
    for wanted in asked:
        where = wanted.where
        first = start_of(pin, where)
        part = coverage.get(where)
        if part is None:
            if wanted.next is None or wanted.next > first:
                found.append(Hole(where, first, wanted.next, failed.get(where, "TAIL_UNAVAILABLE")))
            continue
        end = part.next if wanted.next is None else wanted.next
        if part.first > first and end > first:
            found.append(Hole(where, first, min(part.first, end), "BELOW_TAIL"))
        if part.next < end and end > first:
            found.append(Hole(where, max(first, part.next), end, "NOT_REACHED"))
    return found


def missing_of(hole: Hole, reason: str) -> Missing:
    return Missing(hole.where, hole.first, hole.next, reason)


def excluded_below(pin: Pin, end: Vector) -> tuple[ExcludedRange, ...]:
    """Shed and lost ranges that touch the answer."""
    return tuple(gone for gone in pin.excluded if gone.first < end.get(gone.where, 0))


def time_travels(pin: Pin, end: Vector) -> bool:
    """Whether history(S) holds rows at or beyond E, so that they must be left out."""
    return any(end.get(where, 0) < offset for where, offset in pin.watermark.items())


def freshness_ms(
    pin: Pin, end: Vector, coverage: Mapping[StreamPartition, Coverage], now_us: int, unknown_age_ms: int
) -> int:
    """All that was appended until so long ago is below E.

    A partition whose replica had reached the log's end adds nothing; one behind adds the age of the
    last record below E; one without a replica at least the pin's age.
    """
    oldest_us = now_us
    for where in pin.open_partitions:
        part = coverage.get(where)
        if part is None:
            oldest_us = min(oldest_us, max(pin.append_us.get(where, 0), now_us - 86_400_000_000_000))
        elif part.next < part.end:
            oldest_us = min(oldest_us, part.append_us)
    behind_ms = max(0, (now_us - oldest_us) // 1000)
    return behind_ms if coverage else max(behind_ms, unknown_age_ms)
