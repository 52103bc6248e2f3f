"""Feed events that every reader of the log accepts, and those that every reader refuses."""

from __future__ import annotations

from corpus.frames import branch_cases, frame_cases
from corpus.wire import NULL, Case, accept, array, frame, long, padded, reject, some, text

SCHEMA_ID = 5
EARLIER_SCHEMA_ID = 4
"""Before there were closed intervals."""


def acked(topic_id: str, partition: int, next_offset: int) -> bytes:
    return text(topic_id) + long(partition) + long(next_offset)


EVENT = {
    "event_id": text("binance:spot:0:s1:PROGRESS:7"),
    "kind": long(2),
    "exchange": text("binance"),
    "market": text("spot"),
    "timestamp": long(1_723_161_255_342_000),
    "shard": some(long(0)),
    "leg": some(text("a")),
    "session_id": some(text("s1")),
    "venue_timestamp": some(long(1_723_161_255_341_000)),
    "acked": some(array(acked("kT8", 0, 12), acked("kT8", 1, 0))),
    "feed": NULL,
    "symbol": NULL,
    "gap_id": NULL,
    "first_sequence": NULL,
    "last_sequence": NULL,
    "cause": NULL,
    "detail": NULL,
}

NULLABLE = {
    "shard": long(3),
    "leg": text("b"),
    "session_id": text("s2"),
    "venue_timestamp": long(1_723_161_255_341_000),
    "acked": array(acked("kT8", 0, 13)),
    "feed": text("trade"),
    "symbol": text("BTCUSDT"),
    "gap_id": text("binance:spot:trade:BTCUSDT:0:5"),
    "first_sequence": long(5),
    "last_sequence": long(9),
    "cause": text("timeout"),
    "detail": text("{}"),
}


def event(**changed: bytes) -> bytes:
    """A good event, some of its fields as given."""
    return frame(SCHEMA_ID, {**EVENT, **changed})


def event_before(**changed: bytes) -> bytes:
    """The same, as it was written under the earlier schema."""
    return frame(EARLIER_SCHEMA_ID, {**EVENT, **changed})


_BODY = "body of schema id 5"

CASES: tuple[Case, ...] = (
    *frame_cases(event(), other_id=3),
    *branch_cases(event, NULLABLE),
    accept("nothing acked", event(acked=some(array()))),
    accept("acked unknown", event(acked=NULL)),
    accept("the last kind of event", event(kind=long(8))),
    accept("an event of the earlier schema", event_before()),
    accept("the last kind of the earlier schema", event_before(kind=long(7))),
    accept(
        "a gap", event(feed=some(text("trade")), first_sequence=some(long(5)), last_sequence=some(long(9)))
    ),
    accept("the greatest shard", event(shard=some(long(2**31 - 1)))),
    accept(
        "acked with its size in bytes",
        event(acked=some(long(-1) + long(len(acked("t", 1, 2))) + acked("t", 1, 2) + long(0))),
    ),
    accept("a shard in the ten bytes a long may have", event(shard=some(padded(long(3), 10)))),
    accept("the least shard", event(shard=some(long(-(2**31))))),
    reject("an unknown kind of event", event(kind=long(9)), _BODY),
    reject("a kind that the earlier schema does not have", event_before(kind=long(8)), "body of schema id 4"),
    reject("a shard that no int holds", event(shard=some(long(2**31))), _BODY),
    reject("a partition that no int holds", event(acked=some(array(acked("t", 2**31, 2)))), _BODY),
    reject("acked cut short", event(acked=some(long(2) + acked("t", 1, 2) + long(0))), _BODY),
    reject(
        "venue time in 2200", event(venue_timestamp=some(long(7_258_118_400_000_000))), "venue_timestamp was"
    ),
    reject("empty event id", event(event_id=text("")), "event_id was ''"),
    reject("empty symbol of a gap", event(symbol=some(text(""))), "symbol was ''"),
)
