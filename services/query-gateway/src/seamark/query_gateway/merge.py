"""Rows of several sources as one sequence in the total order. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from seamark.market.order import total_order
from seamark.market.schema import RecordKind
from seamark.query_gateway.question import Vector
from seamark.query_gateway.sources import Window

Position = tuple[str | int | None, ...]
"""Values of the total order's columns of one row; times in microseconds."""

_NULL_LAST = 2**63 - 1
"""Stands for a null in comparisons: venues' numbers are below it."""


def ordered(
    frames: Sequence[pl.DataFrame], kind: RecordKind, columns: Sequence[str], descending: bool
) -> pl.DataFrame:
    """All rows in the total order, or its exact reverse. Frames have `columns`, and at least one is given."""
    # Not by `select`, which would ask polars' engine.
    frame = stacked([frame[list(columns)] for frame in frames])
    if len(frame) < 2:
        return frame
    keys = _varying(frame, total_order(kind))
    if not keys or _in_order(frame, keys, descending):
        return frame
    return frame.sort(keys, descending=descending, nulls_last=not descending)


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames with the same columns, one below the other; at least one is given."""
    if len(frames) == 1:
        return frames[0]
    if all(frame.schema == frames[0].schema for frame in frames[1:]):
        return pl.concat(frames)
    # One side may hold text as Categorical, the other as String.
    plain = [
        frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
        if pl.Categorical in frame.dtypes
        else frame
        for frame in frames
    ]
    return pl.concat(plain)


def _varying(frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Keys that tell rows apart: comparing equal text is most of a sort's time."""
    schema = frame.schema  # made anew at each look
    text = [name for name in keys if schema[name] in (pl.String, pl.Categorical)]
    if not text:
        return [*keys]
    constant = {name for name in text if _is_constant(frame[name])}
    return [name for name in keys if name not in constant]


def _is_constant(text: pl.Series) -> bool:
    if text[0] != text[-1]:
        return False  # what nearly always tells, of long ones
    if text.dtype == pl.Categorical:
        # As Arrow it brings its few names along; polars would ask its engine.
        codes = text.to_arrow().indices
        return not codes.null_count and bool((codes.to_numpy() == codes[0].as_py()).all())
    return bool((text == text[0]).all())


def _in_order(frame: pl.DataFrame, keys: Sequence[str], descending: bool) -> bool:
    """Whether rows surely are in order already: a symbol's rows of files one behind the other, and of the tail
    behind them, mostly are, and looking takes a small part of sorting."""
    tied = np.ones(len(frame) - 1, np.bool_)
    for name in keys:
        column = frame[name]
        if column.dtype in (pl.String, pl.Categorical) or column.null_count():
            return False
        values = (column.cast(pl.Int64) if column.dtype.is_temporal() else column).to_numpy()
        first, second = (values[1:], values[:-1]) if descending else (values[:-1], values[1:])
        if bool(((first > second) & tied).any()):
            return False
        tied &= first == second
        if not bool(tied.any()):
            return True
    return True  # equal in all keys: the order says nothing of them


def position_of(frame: pl.DataFrame, kind: RecordKind) -> Position:
    """The place of the last row."""
    values = []
    for name in total_order(kind):
        column = frame[name]
        values.append((column[-1:].cast(pl.Int64) if column.dtype.is_temporal() else column)[-1])
    return tuple(values)


def time_of(position: Position) -> int:
    """Microseconds, of a sequenced kind: the order begins with it."""
    at_us = position[0]
    assert isinstance(at_us, int)
    return at_us


def behind(kind: RecordKind, position: Position, descending: bool) -> pl.Expr:
    """Rows that come after `position` in the order asked for."""
    expression = pl.lit(value=False)
    for name, value in reversed(list(zip(total_order(kind), position, strict=True))):
        column = pl.col(name)
        if name in ("timestamp",):
            column = column.to_physical()
        if name == "source_sequence":
            column, value = column.fill_null(_NULL_LAST), _NULL_LAST if value is None else value
        beyond = column < value if descending else column > value
        expression = beyond | ((column == value) & expression)
    return expression


def below(vector: Vector) -> pl.Expr:
    """Rows whose offset is below their partition's; of partitions not named, none."""
    expression = pl.lit(value=False)
    by_stream: dict[int, list[tuple[int, int]]] = {}
    for where, end in vector.items():
        by_stream.setdefault(where.stream_id, []).append((where.partition, end))
    for stream_id, ends in by_stream.items():
        partitions = [partition for partition, _ in ends]
        limit = pl.col("kafka_partition").replace_strict(
            partitions, [end for _, end in ends], default=-1, return_dtype=pl.Int64
        )
        expression = expression | ((pl.col("stream_id") == stream_id) & (pl.col("kafka_offset") < limit))
    return expression


def inside(window: Window) -> pl.Expr | None:
    """Rows whose timestamp is in the window; None: all."""
    time = pl.col("timestamp").to_physical()
    parts = []
    if window.from_us is not None:
        parts.append(time >= window.from_us)
    if window.to_us is not None:
        parts.append(time < window.to_us)
    return pl.all_horizontal(parts) if parts else None
