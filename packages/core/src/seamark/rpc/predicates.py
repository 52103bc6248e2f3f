"""Predicates as messages. What a message may say is what `seamark.market.predicate` allows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import pyarrow as pa

from seamark.market import decimals
from seamark.market.predicate import Clock, Comparison, Filter, Predicate, PredicateInvalid, filter_of
from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.v1 import predicate_pb2

_CLOCKS: Mapping[predicate_pb2.Clock.ValueType, Clock] = MappingProxyType(
    {predicate_pb2.CLOCK_EVENT: Clock.EVENT, predicate_pb2.CLOCK_RECEIVE: Clock.RECEIVE}
)
_COMPARISONS: Mapping[predicate_pb2.Comparison.ValueType, Comparison] = MappingProxyType(
    {predicate_pb2.Comparison.Value(f"COMPARISON_{comparison.name}"): comparison for comparison in Comparison}
)
_CLOCK_NUMBERS = {clock: number for number, clock in _CLOCKS.items()}
_COMPARISON_NUMBERS = {comparison: number for number, comparison in _COMPARISONS.items()}


def to_proto(predicate: Predicate) -> predicate_pb2.Predicate:
    """The predicate as a message, for any table that has its columns."""
    return predicate_pb2.Predicate(
        symbols=predicate.symbols,
        clock=clock_to_proto(predicate.clock),
        from_us=predicate.from_us,
        to_us=predicate.to_us,
        filters=[
            predicate_pb2.Filter(
                column=one.column, comparison=_COMPARISON_NUMBERS[one.comparison], values=_texts(one)
            )
            for one in predicate.filters
        ],
        known_at_us=predicate.known_at_us,
    )


def from_proto(kind: RecordKind, message: predicate_pb2.Predicate) -> Predicate:
    """The predicate of a message, for rows of `kind`.

    Raises:
        PredicateInvalid: naming the field: a clock, comparison or column that is not known, a
            value of another type, or what `Predicate` itself refuses.
    """
    clock = clock_from_proto(message.clock)
    if clock.value not in row_schema(kind).names:
        raise PredicateInvalid(
            "clock", f"clock was {clock.name.lower()}, must be event: {kind.value} have no {clock.value}"
        )
    filters = tuple(
        filter_of(kind, one.column, _comparison(one), tuple(one.values)) for one in message.filters
    )
    return Predicate(
        symbols=tuple(message.symbols),
        clock=clock,
        from_us=message.from_us if message.HasField("from_us") else None,
        to_us=message.to_us if message.HasField("to_us") else None,
        filters=filters,
        known_at_us=message.known_at_us if message.HasField("known_at_us") else None,
    )


def clock_to_proto(clock: Clock) -> predicate_pb2.Clock.ValueType:
    """The clock as the contract numbers it."""
    return _CLOCK_NUMBERS[clock]


def clock_from_proto(number: predicate_pb2.Clock.ValueType) -> Clock:
    """The clock of a message; not set: the event's.

    Raises:
        PredicateInvalid: a number that this build does not know.
    """
    if number == predicate_pb2.CLOCK_UNSPECIFIED:
        return Clock.EVENT
    if number not in _CLOCKS:
        raise PredicateInvalid("clock", f"clock was {number}, must be one of {_shown(_CLOCKS)}")
    return _CLOCKS[number]


def _comparison(one: predicate_pb2.Filter) -> Comparison:
    if one.comparison not in _COMPARISONS:
        raise PredicateInvalid(
            f"filters.{one.column}",
            f"comparison of {one.column!r} was {one.comparison}, must be one of {_shown(_COMPARISONS)}",
        )
    return _COMPARISONS[one.comparison]


def _shown(
    numbers: Mapping[predicate_pb2.Clock.ValueType, Clock]
    | Mapping[predicate_pb2.Comparison.ValueType, Comparison],
) -> str:
    return ", ".join(f"{number} ({meaning.name})" for number, meaning in numbers.items())


def _texts(one: Filter) -> list[str]:
    if one.column not in _decimal_columns():
        return [str(value) for value in one.values]
    return [decimals.text(int(value)) for value in one.values]


@cache
def _decimal_columns() -> frozenset[str]:
    """A column's name says its type: no two tables disagree."""
    return frozenset(
        field.name for kind in RecordKind for field in row_schema(kind) if pa.types.is_decimal(field.type)
    )
