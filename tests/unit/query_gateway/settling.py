"""When an interval is settled, by the definition, looked up anew at each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from seamark.query_gateway.finality import Event

LIVE_US = 10_000_000
GRACE_US = 2_000_000
LEGS = ("a", "b", "c")
Steps: TypeAlias = list[tuple[int, dict[tuple[str, int], int]] | None]


def live_legs(events: Sequence[Event]) -> list[Event]:
    """Last PROGRESS of each live leg at the last of `events`, by the definition, looked up each time anew."""
    found = []
    for leg in LEGS:
        own = [event for event in events if event.leg == leg]
        openings = list(dict.fromkeys(event.session_id for event in own if event.kind == "SESSION_OPENED"))
        # Of a session that began before the events, there is no opening.
        spoken = list(dict.fromkeys(event.session_id for event in own if event.kind == "PROGRESS"))
        if not openings and not spoken:
            continue
        session = (openings or spoken)[-1]
        if any(event.kind == "SESSION_CLOSED" and event.session_id == session for event in own):
            continue
        said = [event for event in own if event.kind == "PROGRESS" and event.session_id == session]
        if said and said[-1].appended_us >= events[-1].appended_us - LIVE_US:
            found.append(said[-1])
    return found


def steps_of(events: Sequence[Event]) -> Steps:
    """At each record: (least T of the live legs, their joined V); None where nobody is live."""
    steps = []
    for count in range(1, len(events) + 1):
        vector = {}
        live = live_legs(events[:count])
        for event in live:
            for topic_id, partition, offset in event.acked:
                vector[topic_id, partition] = max(offset, vector.get((topic_id, partition), 0))
        steps.append((min(event.venue_us or 0 for event in live), vector) if live else None)
    return steps


def by_definition(steps: Steps, end_us: int) -> Mapping[tuple[str, int], int] | None:
    """V(F) of an interval that ends at `end_us`; None where it is not settled."""
    return next((step[1] for step in steps if step is not None and step[0] >= end_us + GRACE_US), None)
