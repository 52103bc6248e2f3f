"""What an answer says of itself: the proof that comes with the rows."""

from __future__ import annotations

from dataclasses import dataclass

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.market.predicate import Clock
from seamark.query_gateway.question import Engine, Vector


@dataclass(frozen=True, slots=True)
class Missing:
    """Offsets [first, next) of one partition that the answer lacks; `next` None: to an unknown end."""

    where: StreamPartition
    first: int
    next: int | None
    reason: str
    """LOG_GONE, TAIL_UNAVAILABLE, TAIL_STOPPED, NOT_REACHED, OVER_BUDGET."""


@dataclass(frozen=True, slots=True)
class TableHeader:
    """What was read of one table."""

    table: str
    snapshot_id: int | None
    """S; None: the table has none."""
    pin_age_ms: int
    revision: int
    watermark: Vector
    """H(S)."""
    end: Vector
    """E."""
    lo: Vector
    """First offset that the tail had, where it was asked."""
    excluded: tuple[ExcludedRange, ...]
    """Shed and lost ranges below E."""
    missing: tuple[Missing, ...]
    committed_age_ms: int
    """Age of the oldest record that is not committed; 0: all are."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole in what the feed delivered, over the rows asked for."""

    gap_id: str
    exchange: str
    market: str
    symbol: str
    first_sequence: int
    last_sequence: int
    state: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What answering takes, before it is done."""

    rows: int
    """Upper bound."""
    bytes: int
    """Compressed bytes of the columns to be read."""
    files: int
    engine: Engine
    cost: int
    """Units that the caller's quota is charged: 1 + rows / 10,000 + MiB."""


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """Header of every answer."""

    exact: bool
    """All rows of the log below E that match, each once, are in the answer."""
    reason: str
    """Empty where nothing is amiss; else what is, in words: why it is not exact, why it has no cursor."""
    tables: tuple[TableHeader, ...]
    freshness_ms: int
    """All that was appended until so long ago has been seen."""
    gaps: tuple[Gap, ...] | None
    """None: the ledger of gaps could not be read, or the cursor was made when it could not."""
    level: str
    clock: Clock
    engine: Engine
    estimate: Estimate
    cursor: str
    """Gives the same rows again, whenever it is asked. Empty: there are too many partitions for one."""
    query_id: str

    @property
    def partial(self) -> bool:
        """Ranges are missing: HTTP 206."""
        return any(table.missing for table in self.tables)


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot that may be asked for."""

    snapshot_id: int
    timestamp_ms: int
    operation: str
    watermark: Vector
    """H; empty where it is not pinnable."""
    pinnable: bool
    reason: str
    """Why it is not pinnable."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Where stream and lake of a table stand."""

    table: TableHeader
    freshness_ms: int


def vector_json(vector: Vector) -> dict[str, int]:
    """{"stream.partition": offset}: how vectors are written in JSON and headers."""
    return {str(where): offset for where, offset in sorted(vector.items())}


def table_json(table: TableHeader) -> dict[str, object]:
    """What was read of one table, as JSON."""
    return {
        "snapshot": table.snapshot_id,
        "pin_age_ms": table.pin_age_ms,
        "revision": table.revision,
        "H": vector_json(table.watermark),
        "E": vector_json(table.end),
        "lo": vector_json(table.lo),
        "excluded": [
            {"partition": str(gone.where), "from": gone.first, "to": gone.next, "cause": gone.cause}
            for gone in table.excluded
        ],
        "missing": [
            {
                "partition": str(gone.where),
                "from": gone.first,
                "to": "unknown" if gone.next is None else gone.next,
                "reason": gone.reason,
            }
            for gone in table.missing
        ],
        "committed_age_ms": table.committed_age_ms,
    }


def header_json(header: AnswerHeader) -> dict[str, object]:
    """The header as JSON; the OpenAPI schema describes this form."""
    return {
        "exact": header.exact,
        "reason": header.reason or None,
        "tables": {table.table: table_json(table) for table in header.tables},
        "freshness_ms": header.freshness_ms,
        "gaps": None
        if header.gaps is None
        else [
            {
                "gap_id": gap.gap_id,
                "exchange": gap.exchange,
                "market": gap.market,
                "symbol": gap.symbol,
                "first_sequence": gap.first_sequence,
                "last_sequence": gap.last_sequence,
                "state": gap.state,
            }
            for gap in header.gaps
        ],
        "level": header.level,
        "clock": header.clock.name.lower(),
        "engine": header.engine.value,
        "estimate": {
            "rows": header.estimate.rows,
            "bytes": header.estimate.bytes,
            "files": header.estimate.files,
            "cost": header.estimate.cost,
        },
        "cursor": header.cursor,
        "query_id": header.query_id,
    }
