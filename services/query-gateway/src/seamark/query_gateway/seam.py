"""Where stream and lake meet: from what tail, log and table say to one vector E, or to what is missing. Pure.

answer(S, E) = history(S) ∪ rows of the log with H(S) ≤ offset < E, partition by partition. E is
decided once, from what the tail held at one moment; everything after that only serves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.query_gateway.errors import Gone, Stale
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
    """E: as given, else what the tail reached, and never below H(S). A closed stream ends at H(S)."""
    if end is not None:
        return dict(end)
    reached = dict(pin.watermark)
    for where in pin.open_partitions:
        part = coverage.get(where)
        first = start_of(pin, where)
        reached[where] = first if part is None else max(first, part.next)
    return reached


def end_at(
    pin: Pin, instant_us: int, offsets: Vector, marks: Mapping[StreamPartition, Coverage]
) -> tuple[dict[StreamPartition, int], list[Missing]]:
    """E_T, the first offset of each partition that was appended later than T; and what cannot be said.

    `offsets`: by Kafka's index, where it could be asked; `marks`: where the tail stands, where not. E
    may be too high where rows are told by their append time: of closed streams, below H(S), in the tail.
    """
    end = dict(pin.watermark)
    unknown = []
    for where in pin.open_partitions:
        first, offset, mark = start_of(pin, where), offsets.get(where), marks.get(where)
        if pin.append_us.get(where, 0) > instant_us:
            # All behind H(S) was appended later.
            end[where] = first if offset is None else min(offset, first)
        elif offset is not None:
            end[where] = max(offset, pin.streams[where.stream_id].start[where.partition])
        else:
            end[where] = first if mark is None else max(first, mark.hi)
            if mark is None or mark.append_us <= instant_us:
                unknown.append(Missing(where, end[where], None, "LOG_UNAVAILABLE"))
    return end, unknown


def check_end(pin: Pin, end: Vector, revision: int | None) -> None:
    """Whether the rows below a given E are those that were there when it was made.

    Raises:
        Gone: ranges were taken out since `revision` (None: no matter), or a stream that takes no more
            rows ends below E.
    """
    for gone in pin.excluded:
        if revision is not None and shed_since(gone, revision) and gone.first < end.get(gone.where, 0):
            raise Gone(
                f"shed_since: offsets [{gone.first}, {gone.next}) of {gone.where} were taken out by revision "
                f"{gone.revision}, the cursor is of revision {revision}"
            )
    open_partitions = set(pin.open_partitions)
    for where, offset in end.items():
        reached = pin.watermark.get(where, 0)
        if where not in open_partitions and offset > reached:
            raise Gone(
                f"offsets [{reached}, {offset}) of {where} cannot be given: that stream takes no more rows"
            )


def shed_since(gone: ExcludedRange, revision: int) -> bool:
    """Whether rows of an excluded range were there at `revision`, so that they cannot be given again.

    A range shed at m and repaired at n is visible to R iff R < m or R >= n. A repair takes its range out of
    `excluded`: what is still in it is not repaired, so R < m alone decides. Rows of a repaired range are in history
    for every R, which is wrong for m <= R < n, and cannot be told: no commit keeps m and n of what it took out.
    Nothing repairs yet; a repairer must keep them, and asks here.
    """
    return revision < gone.revision


def check_floor(floor: Vector, end: Vector, missing: Iterable[Missing]) -> None:
    """Raises Stale: not all below `floor` is in the answer."""
    short = {where for where, offset in floor.items() if end.get(where, 0) < offset}
    short |= {gone.where for gone in missing if gone.first < floor.get(gone.where, 0)}
    if short:
        names = ", ".join(str(where) for where in sorted(short))
        raise Stale(f"min_offsets of {names} were not reached before the deadline", "min_offsets")


def reach(part: Coverage) -> int:
    """How far an answer of now can go: to where the replica stands, or to the log's end where it reads no more."""
    return max(part.hi, part.end) if part.stopped else part.hi


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
    open_partitions = set(pin.open_partitions)
    for wanted in asked:
        where = wanted.where
        if where not in open_partitions:
            continue  # closed meanwhile: its rows end at H(S)
        first = start_of(pin, where)
        part = coverage.get(where)
        if part is None:
            if wanted.next is None or wanted.next > first:
                found.append(Hole(where, first, wanted.next, failed.get(where, "TAIL_UNAVAILABLE")))
            continue
        end = wanted.next
        if end is None:
            end = reach(part) if part.stopped else part.next
        if part.first > first and end > first:
            found.append(Hole(where, first, min(part.first, end), "BELOW_TAIL"))
        if part.next < end and end > first:
            found.append(
                Hole(where, max(first, part.next), end, "TAIL_STOPPED" if part.stopped else "NOT_REACHED")
            )
    return found


def missing_of(hole: Hole, reason: str) -> Missing:
    return Missing(hole.where, hole.first, hole.next, reason)


def excluded_to_name(pin: Pin, end: Vector) -> tuple[ExcludedRange, ...]:
    """Shed and lost ranges that touch the answer, and what a closed stream has lost behind its last row."""
    open_partitions = set(pin.open_partitions)
    return tuple(
        gone
        for gone in pin.excluded
        if gone.first < end.get(gone.where, 0) + (gone.where not in open_partitions)
    )


def time_travels(pin: Pin, end: Vector) -> bool:
    """Whether history(S) holds rows at or beyond E, so that they must be left out."""
    return any(end.get(where, 0) < offset for where, offset in pin.watermark.items())


_UNKNOWN_AGE_US = 1_000 * 86_400_000_000


def freshness_ms(
    pin: Pin, end: Vector, marks: Iterable[Coverage], now_us: int, known_at_us: int | None = None
) -> int:
    """All that was appended until so long ago is below E; a thousand days where nobody knows.

    `marks`: where replicas stood, or the log did. From H(S) on, E has what was appended before H(S);
    from a mark's `hi` on, what was appended before that; from its `end` on, what was appended before
    the end was asked for. `known_at_us`: E was made to have what was appended until then.
    """
    seen_us = {
        where: pin.append_us.get(where, 0) if end.get(where, 0) >= start_of(pin, where) else 0
        for where in pin.open_partitions
    }
    for part in marks:
        if part.where in seen_us and end.get(part.where, 0) >= part.hi:
            asked_us = min(part.end_as_of_us, now_us) if end[part.where] >= part.end else 0
            seen_us[part.where] = max(seen_us[part.where], part.append_us, asked_us)
    oldest_us = max(min(seen_us.values(), default=now_us), known_at_us or 0, now_us - _UNKNOWN_AGE_US)
    return max(0, (now_us - oldest_us) // 1000)


def committed_age_ms(pin: Pin, end: Vector, marks: Iterable[Coverage], now_us: int) -> int:
    """Age of the oldest record behind H(S); 0: there is none, as far as is known; a thousand days where nobody knows.

    `marks`: what was given of ranges from H(S) on. Where none names the record's append time, its age is that
    of the last one below H(S): too great, never too small.
    """
    said_us: dict[StreamPartition, int] = {}
    reached = dict(end)
    for part in marks:
        if part.committed_append_us:
            said_us[part.where] = min(part.committed_append_us, said_us.get(part.where, now_us))
        if part.stopped:
            reached[part.where] = max(reached.get(part.where, 0), part.end)
    waiting_us = [
        # With a newer pin than was asked with: at least as late as what that one has.
        max(said_us.get(where, 0), pin.append_us.get(where, 0))
        for where in pin.open_partitions
        if reached.get(where, 0) > start_of(pin, where)
    ]
    oldest_us = max(min(waiting_us, default=now_us), now_us - _UNKNOWN_AGE_US)
    return max(0, (now_us - oldest_us) // 1000)
