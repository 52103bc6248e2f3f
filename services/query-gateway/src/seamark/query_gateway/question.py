"""What is asked: values only, checked where they are made. HTTP and gRPC both come to these."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.errors import Invalid

Vector: TypeAlias = Mapping[StreamPartition, int]
"""Offsets by partition of a stream."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Everything appended until now, and at least what the caller has seen already."""

    last_end: Vector = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MinOffsets:
    """At least these offsets: read your writes."""

    offsets: Vector


@dataclass(frozen=True, slots=True)
class MaxStaleness:
    """An answer at most this old, or none."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class AtCursor:
    """Exactly the rows of an earlier answer."""

    cursor: str


@dataclass(frozen=True, slots=True)
class AsKnownAt:
    """What was appended until then, and nothing later."""

    instant_us: int


@dataclass(frozen=True, slots=True)
class AtSnapshot:
    """History of one snapshot alone."""

    snapshot_id: int


def hash_of(*parts: object) -> str:
    """Names a question: equal parts, equal text."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


Consistency: TypeAlias = Latest | MinOffsets | MaxStaleness | AtCursor | AsKnownAt | AtSnapshot


class Engine(Enum):
    """Who reads history."""

    DIRECT = "direct"
    TRINO = "trino"


@dataclass(frozen=True, slots=True)
class Question:
    """Rows of one table in the total order."""

    kind: RecordKind
    predicate: Predicate = Predicate()
    columns: tuple[str, ...] = ()
    """Of the answer, in this order; none: all of the table."""
    limit: int = 0
    """Rows of a page; 0: all."""
    descending: bool = False
    """Newest rows first."""
    consistency: Consistency = Latest()
    page_cursor: str = ""
    """Of the page before; then consistency is the cursor's."""
    engine: Engine | None = None
    """None: by cost."""

    def __post_init__(self) -> None:
        names = row_schema(self.kind).names
        for name in self.columns:
            if name not in names:
                raise Invalid("fields", f"field was {name!r}, must be one of {', '.join(names)}")
        if len(set(self.columns)) != len(self.columns):
            raise Invalid("fields", f"fields were {', '.join(self.columns)}, must be named once each")
        _check_limit(self.limit)
        if self.predicate.clock is Clock.RECEIVE and self.kind is RecordKind.FEED_EVENTS:
            raise Invalid("clock", "clock was receive, must be event: feed events have no receive time")

    @property
    def hash(self) -> str:
        """Names which rows are meant and in what form, not how much of them or how fresh."""
        predicate = self.predicate
        filters = [
            (one.column, one.comparison.value, [str(value) for value in one.values])
            for one in predicate.filters
        ]
        return hash_of(
            self.kind.value,
            sorted(predicate.symbols),
            predicate.clock.value,
            predicate.from_us,
            predicate.to_us,
            filters,
            predicate.known_at_us,
            self.columns,
            self.descending,
        )


SYMBOL_PATTERN = r"^[\w./:-]{1,32}$"
"""A venue's symbol, whichever venue's."""


def check_symbols(symbols: Sequence[str], field: str = "symbols") -> tuple[str, ...]:
    """Raises Invalid: one of them cannot be a symbol of any venue."""
    for symbol in symbols:
        if not re.fullmatch(SYMBOL_PATTERN, symbol):
            raise Invalid(field, f"symbol was {symbol[:64]!r}, must match {SYMBOL_PATTERN}")
    return tuple(symbols)


INTERVALS_US: Mapping[str, int] = {
    "1s": 1_000_000,
    "5s": 5_000_000,
    "1m": 60_000_000,
    "5m": 300_000_000,
    "15m": 900_000_000,
    "1h": 3_600_000_000,
    "4h": 14_400_000_000,
    "1d": 86_400_000_000,
}


MINUTE_US = INTERVALS_US["1m"]


@dataclass(frozen=True, slots=True)
class BarsQuestion:
    """Bars of one symbol over [from_us, to_us), aligned to multiples of the interval since 1970."""

    exchange: str
    market: str
    symbol: str
    from_us: int
    to_us: int
    interval: str
    consistency: Consistency = Latest()
    MOST_BARS = 100_000

    def __post_init__(self) -> None:
        if self.interval not in INTERVALS_US:
            raise Invalid(
                "interval", f"interval was {self.interval!r}, must be one of {', '.join(INTERVALS_US)}"
            )
        _check_range(self.from_us, self.to_us)
        bars = -(-(self.to_us - self.from_us) // INTERVALS_US[self.interval])
        if bars > self.MOST_BARS:
            raise Invalid(
                "interval", f"bars would be {bars}, must be at most {self.MOST_BARS}: ask for longer ones"
            )


MOST_QUOTE_AGE_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class AsOfQuestion:
    """Each trade in [from_us, to_us) with the quote that stood when it happened."""

    symbols: tuple[str, ...]
    from_us: int
    to_us: int
    clock: Clock = Clock.RECEIVE
    """One clock for both sides."""
    tolerance_us: int = 0
    """A quote older than this does not count; 0: any age within a day."""
    allow_receive_time: bool = False
    """Compare by EVENT although quotes carry receive time in `timestamp`."""
    limit: int = 0
    consistency: Consistency = Latest()

    def __post_init__(self) -> None:
        _check_range(self.from_us, self.to_us)
        if not 0 <= self.tolerance_us <= MOST_QUOTE_AGE_US:
            raise Invalid(
                "tolerance_us",
                f"tolerance_us was {self.tolerance_us}, must be 0 to {MOST_QUOTE_AGE_US} (a day)",
            )
        if isinstance(self.consistency, AtSnapshot):
            raise Invalid(
                "snapshot",
                f"snapshot was {self.consistency.snapshot_id}, must not be given here: a snapshot is of one table, "
                f"and trades and quotes are two; at or as_known_at mean both",
            )
        _check_limit(self.limit)


def _check_range(from_us: int, to_us: int) -> None:
    if from_us >= to_us:
        raise Invalid("start", f"start was {from_us}, must be before end, which was {to_us} (microseconds)")


def _check_limit(limit: int) -> None:
    if limit < 0:
        raise Invalid("limit", f"limit was {limit}, must be 0 (all) or more")
