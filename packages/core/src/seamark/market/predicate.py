"""Which rows a question means: one meaning for tail, data files and SQL.

A row matches if all conditions hold; a compared column that is null does not match, as in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import and_
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from seamark.market import decimals
from seamark.market.errors import DecimalOutOfRange, MarketError
from seamark.market.schema import RecordKind, row_schema

Value: TypeAlias = str | int
"""Of a text column: text. Of any other: the integer it is stored as (a decimal's digits at scale 10,
microseconds, days since 1970)."""

MAX_VALUES = 1_000
"""Symbols, or values of one filter."""
MAX_FILTERS = 32
_WHOLE = re.compile(r"-?[0-9]{1,20}")


class PredicateInvalid(MarketError):
    """A condition that no row of the table could be held against. `field` names the part."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Clock(Enum):
    """Which time a time range means. The value is the column."""

    EVENT = "timestamp"
    RECEIVE = "ingestion_timestamp"


class Comparison(Enum):
    """How a column is compared. The value is the SQL operator."""

    EQ = "="
    NE = "<>"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "IN"


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one column. Made by `filter_of`, which checks it."""

    column: str
    comparison: Comparison
    values: tuple[Value, ...]
    """One; of IN one or more."""

    def expression(self) -> pl.Expr:
        column = pl.col(self.column)
        if not isinstance(self.values[0], str):
            column = column.to_physical()
        value = self.values[0]
        match self.comparison:
            case Comparison.EQ:
                return column == value
            case Comparison.NE:
                return column != value
            case Comparison.LT:
                return column < value
            case Comparison.LE:
                return column <= value
            case Comparison.GT:
                return column > value
            case Comparison.GE:
                return column >= value
            case Comparison.IN:
                # Unscaled amounts may need more than the 64 bits that a list's first value suggests.
                wide = any(isinstance(one, int) and abs(one) >= 2**63 for one in self.values)
                if wide:
                    return column.is_in(pl.lit(pl.Series(self.values, dtype=pl.Int128)).implode())
                return column.is_in(list(self.values))


@dataclass(frozen=True, slots=True)
class Predicate:
    """Rows of `symbols` whose time by `clock` is in [from_us, to_us), that match all `filters`."""

    symbols: tuple[str, ...] = ()
    """Empty: all."""
    clock: Clock = Clock.EVENT
    from_us: int | None = None
    """Inclusive."""
    to_us: int | None = None
    """Exclusive."""
    filters: tuple[Filter, ...] = ()
    known_at_us: int | None = None
    """Only rows whose running append time is not later: what was known then."""

    def __post_init__(self) -> None:
        if self.from_us is not None and self.to_us is not None and self.from_us >= self.to_us:
            raise PredicateInvalid(
                "start",
                f"start was {self.from_us}, must be before end, which was {self.to_us} (microseconds)",
            )
        if len(self.symbols) > MAX_VALUES:
            raise PredicateInvalid(
                "symbols", f"symbols were {len(self.symbols)}, must be at most {MAX_VALUES}"
            )
        if len(self.filters) > MAX_FILTERS:
            raise PredicateInvalid(
                "filters", f"filters were {len(self.filters)}, must be at most {MAX_FILTERS}"
            )

    @property
    def columns(self) -> frozenset[str]:
        """What must be read to decide."""
        names = {one.column for one in self.filters}
        if self.symbols:
            names.add("symbol")
        if self.from_us is not None or self.to_us is not None:
            names.add(self.clock.value)
        if self.known_at_us is not None:
            names.add("kafka_timestamp")
        return frozenset(names)

    def expression(self) -> pl.Expr | None:
        """The predicate over a frame with the rows' own columns; None: every row matches.

        Text columns may be Categorical.
        """
        parts: list[pl.Expr] = []
        if self.symbols:
            symbol = pl.col("symbol")
            parts.append(symbol == self.symbols[0] if len(self.symbols) == 1 else symbol.is_in(self.symbols))
        clock = pl.col(self.clock.value).to_physical()
        if self.from_us is not None:
            parts.append(clock >= self.from_us)
        if self.to_us is not None:
            parts.append(clock < self.to_us)
        if self.known_at_us is not None:
            parts.append(pl.col("kafka_timestamp").to_physical() <= self.known_at_us)
        parts += [one.expression() for one in self.filters]
        return reduce(and_, parts) if parts else None


def filter_of(kind: RecordKind, column: str, comparison: Comparison, texts: tuple[str, ...]) -> Filter:
    """A filter on a column of `kind`'s rows, its values read from text.

    Decimals in digits, times and whole numbers as integers (microseconds since 1970).

    Raises:
        PredicateInvalid: no such column, one that cannot be compared, or a value of another type.
    """
    field = f"filters.{column}"
    schema = row_schema(kind)
    if column not in schema.names:
        raise PredicateInvalid(field, f"column was {column!r}, must be one of {', '.join(schema.names)}")
    if not texts or len(texts) > (MAX_VALUES if comparison is Comparison.IN else 1):
        allowed = f"1 to {MAX_VALUES}" if comparison is Comparison.IN else "1"
        raise PredicateInvalid(field, f"values of {column} were {len(texts)}, must be {allowed}")
    values = tuple(_value(field, column, schema.field(column).type, text) for text in texts)
    return Filter(column, comparison, values)


def _value(field: str, column: str, arrow: pa.DataType, text: str) -> Value:
    if pa.types.is_string(arrow):
        return text
    if pa.types.is_nested(arrow):
        raise PredicateInvalid(field, f"column was {column}, must not be a list: it cannot be compared")
    if pa.types.is_decimal(arrow):
        try:
            return decimals.parse(text, f"value of {column}")
        except DecimalOutOfRange as error:
            raise PredicateInvalid(field, str(error)) from error
    if not _WHOLE.fullmatch(text):
        raise PredicateInvalid(field, f"value of {column} was {text[:64]!r}, must be a whole number")
    number = int(text)
    bits = arrow.bit_width
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise PredicateInvalid(field, f"value of {column} was {text[:64]!r}, must fit {bits} bits")
    return number
