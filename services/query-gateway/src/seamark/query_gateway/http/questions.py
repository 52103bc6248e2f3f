"""From parameters to questions. Says what is wrong with them as Invalid, by the parameter's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date

import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Clock, Comparison, Filter, Predicate, PredicateInvalid, filter_of
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.http.instants import instant_us
from seamark.query_gateway.http.parameters import Asking, FilterBody, RecentQuery, RowsQuery
from seamark.query_gateway.question import (
    AsKnownAt,
    AtCursor,
    AtSnapshot,
    Consistency,
    Engine,
    Latest,
    MaxStaleness,
    MinOffsets,
    Question,
    Vector,
)

_EPOCH = date(1970, 1, 1)


@contextmanager
def invalid_by_name() -> Iterator[None]:
    """A predicate that cannot be is the request's fault."""
    try:
        yield
    except PredicateInvalid as error:
        raise Invalid(error.field, str(error)) from error


def clock_of(name: str) -> Clock:
    return Clock.RECEIVE if name == "receive" else Clock.EVENT


def consistency_of(asking: Asking) -> Consistency:
    """Raises Invalid: more than one mode."""
    modes: dict[str, Consistency] = {}
    if asking.min_offsets is not None:
        modes["min_offsets"] = MinOffsets(_vector(asking.min_offsets))
    if asking.max_staleness_ms is not None:
        modes["max_staleness_ms"] = MaxStaleness(asking.max_staleness_ms)
    if asking.at is not None:
        modes["at"] = AtCursor(asking.at)
    if asking.as_known_at is not None:
        modes["as_known_at"] = AsKnownAt(asking.as_known_at)
    if asking.snapshot is not None:
        modes["snapshot"] = AtSnapshot(asking.snapshot)
    if asking.last_end is not None:
        modes["last_end"] = Latest(_vector(asking.last_end))
    if isinstance(asking, RowsQuery) and asking.page_cursor is not None:
        modes["page_cursor"] = Latest()
    if len(modes) > 1:
        *_, extra = modes
        raise Invalid(extra, f"{' and '.join(modes)} were given together, must be one of them")
    return next(iter(modes.values()), Latest())


def rows_question(kind: RecordKind, asked: RowsQuery) -> Question:
    """Raises Invalid."""
    with invalid_by_name():
        predicate = Predicate(
            tuple(dict.fromkeys(asked.symbols)),
            clock_of(asked.clock),
            asked.start,
            asked.end,
            tuple(_filter(kind, one) for one in asked.filters),
        )
    return Question(
        kind,
        predicate,
        tuple(asked.fields),
        asked.limit or 0,
        asked.order == "desc",
        consistency_of(asked),
        asked.page_cursor or "",
        Engine(asked.engine) if asked.engine else None,
    )


def recent_question(kind: RecordKind, asked: RecentQuery, now_us: int) -> Question:
    """Raises Invalid."""
    from_us = None if asked.seconds is None else now_us - int(asked.seconds * 1_000_000)
    predicate = Predicate(tuple(dict.fromkeys(asked.symbols)), clock_of(asked.clock), from_us)
    return Question(kind, predicate, tuple(asked.fields), asked.last, True, consistency_of(asked))


def _vector(value: str | Mapping[str, int]) -> Vector:
    pairs = value.items() if isinstance(value, Mapping) else (part.split(":", 1) for part in value.split(","))
    return {StreamPartition(*map(int, where.split("."))): int(offset) for where, offset in pairs}


def _filter(kind: RecordKind, one: str | FilterBody) -> Filter:
    column: str
    operator: str
    if isinstance(one, FilterBody):
        column, operator, texts = one.column, one.operator, list(one.values)
    else:
        column, operator, text = one.split(":", 2)
        texts = text.split(",") if operator == "in" else [text]
    return filter_of(kind, column, Comparison[operator.upper()], tuple(_physical(kind, column, texts)))


def _physical(kind: RecordKind, column: str, texts: list[str]) -> list[str]:
    """Times and dates as the whole numbers they are stored as."""
    schema = row_schema(kind)
    arrow = schema.field(column).type if column in schema.names else pa.null()
    try:
        if pa.types.is_timestamp(arrow):
            return [str(instant_us(text)) for text in texts]
        if pa.types.is_date(arrow):
            return [str((date.fromisoformat(text) - _EPOCH).days) for text in texts]
    except ValueError as error:
        raise Invalid(f"filters.{column}", f"value of {column} was {texts[0][:64]!r}: {error}") from None
    return texts
