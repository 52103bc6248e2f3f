"""Which files and row groups may hold a matching row, by the least and greatest values of their columns. Pure.

Both are pieces: a row of a frame with `<column>_min` and `<column>_max` of the tracked columns, text
as text, all else as the integer it is stored as. A null bound is unknown and keeps its piece; a bound
may be wider than the values (Iceberg cuts long text), never narrower.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Comparison, Predicate, Value
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.sources import Window

_TRACKED: Mapping[str, pl.DataType] = {
    "symbol": pl.String(),
    "timestamp": pl.Int64(),
    "ingestion_timestamp": pl.Int64(),
    "kafka_timestamp": pl.Int64(),
    "kafka_offset": pl.Int64(),
    "source_sequence": pl.Int64(),
}


def tracked(kind: RecordKind) -> dict[str, pl.DataType]:
    """Columns of `kind` whose bounds are kept, with the type of their bounds."""
    names = row_schema(kind).names
    return {name: dtype for name, dtype in _TRACKED.items() if name in names}


def piece_schema(kind: RecordKind) -> dict[str, pl.DataType]:
    """Columns of a frame of pieces. `sizes`: stored bytes of each column of the table, in its order."""
    return {
        "path": pl.String(),
        "size_bytes": pl.Int64(),
        "rows": pl.Int64(),
        "sizes": pl.Array(pl.Int64, len(row_schema(kind).names)),
        **{f"{name}_{end}": dtype for name, dtype in tracked(kind).items() for end in ("min", "max")},
    }


def may_match(predicate: Predicate, kind: RecordKind) -> pl.Expr:
    """True for pieces in which a row of `predicate` may lie."""
    return _all(_conditions(predicate, tracked(kind)), unknown=True)


def may_lie(window: Window, below: Mapping[StreamPartition, int] | None) -> pl.Expr:
    """True for pieces in which a row of the window, and below the vector, may lie."""
    conditions = [*_range("timestamp", window.from_us, window.to_us)]
    if below is not None:
        conditions.append(pl.col("kafka_offset_min") < max(below.values(), default=0))
    return _all(conditions, unknown=True)


def surely_matches(predicate: Predicate, window: Window, kind: RecordKind) -> pl.Expr:
    """True for pieces in which every row is one of `predicate` and of the window."""
    conditions = [
        *_inside(predicate.clock.value, predicate.from_us, predicate.to_us),
        *_inside("timestamp", window.from_us, window.to_us),
    ]
    if predicate.symbols:
        # Bounds that are equal are exact, however they were cut; bounds do not tell of nulls.
        symbol = pl.col("symbol_min")
        conditions.append((symbol == pl.col("symbol_max")) & symbol.is_in(predicate.symbols))
    if predicate.known_at_us is not None:
        conditions.append(pl.col("kafka_timestamp_max") <= predicate.known_at_us)
    if predicate.filters or any(row_schema(kind).field(name).nullable for name in predicate.columns):
        return pl.lit(value=False)
    return _all(conditions, unknown=False)


def _inside(column: str, from_us: int | None, to_us: int | None) -> Iterator[pl.Expr]:
    if from_us is not None:
        yield pl.col(f"{column}_min") >= from_us
    if to_us is not None:
        yield pl.col(f"{column}_max") < to_us


def _all(conditions: Iterable[pl.Expr], *, unknown: bool) -> pl.Expr:
    """Whether all hold; what an unknown bound decides counts as `unknown`."""
    always = pl.lit(value=True)
    return pl.all_horizontal(always, *(condition.fill_null(value=unknown) for condition in conditions))


def _conditions(predicate: Predicate, known: Collection[str]) -> Iterator[pl.Expr]:
    """Of columns with bounds."""
    if predicate.clock.value in known:
        yield from _range(predicate.clock.value, predicate.from_us, predicate.to_us)
    if predicate.symbols and "symbol" in known:
        yield _one_of("symbol", predicate.symbols)
    if predicate.known_at_us is not None:
        yield pl.col("kafka_timestamp_min") <= predicate.known_at_us
    for one in predicate.filters:
        if one.column not in known:
            continue
        least, greatest, value = pl.col(f"{one.column}_min"), pl.col(f"{one.column}_max"), one.values[0]
        match one.comparison:
            case Comparison.EQ | Comparison.IN:
                yield _one_of(one.column, one.values)
            case Comparison.LT:
                yield least < value
            case Comparison.LE:
                yield least <= value
            case Comparison.GT:
                yield greatest > value
            case Comparison.GE:
                yield greatest >= value
            case Comparison.NE:
                pass  # only bounds that are equal and exact could tell, and bounds may be wider


def _range(column: str, from_us: int | None, to_us: int | None) -> Iterator[pl.Expr]:
    if from_us is not None:
        yield pl.col(f"{column}_max") >= from_us
    if to_us is not None:
        yield pl.col(f"{column}_min") < to_us


def _one_of(column: str, values: tuple[Value, ...]) -> pl.Expr:
    """Whether any of the values lies between the bounds."""
    least, greatest = pl.col(f"{column}_min"), pl.col(f"{column}_max")
    if len(values) == 1:
        return (least <= values[0]) & (greatest >= values[0])
    ascending = pl.Series(sorted(set(values)))
    # Some value does iff the first one that is not below the lower bound (if known) is not above the upper.
    at = pl.lit(ascending).search_sorted(least, side="left")
    first = pl.lit(ascending).gather(at.clip(0, len(ascending) - 1))
    return (at < len(ascending)) & (first <= greatest)
