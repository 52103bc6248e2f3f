"""The contract's rules for values that Avro's types allow, checked on decoded columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from seamark.market import decimals
from seamark.market.schema import DECIMAL_PRECISION, RecordKind
from seamark.sequencing.kinds import FEEDS, FOLDED, refusal

EARLIEST_US, LATEST_US = 0, 7_258_118_400_000_000  # 1970-01-01 to 2200-01-01, exclusive
"""Timestamps outside are refused: partition transforms and clients' date types end somewhere."""
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
"""Dates outside are refused: clients' date types hold no others."""

MAX_TEXT_BYTES = 64
_IDENTITY = ("exchange", "market", "feed", "symbol")


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: pl.Expr
    """Of a row; null where the rule says nothing."""
    any_broken: pl.Expr
    """Whether any row breaks it, under a name of its own."""
    reason: Callable[[pl.DataFrame, int], str]
    """Of a row that breaks the rule, by its number."""


def broken_rules(kind: RecordKind, frame: pl.DataFrame) -> dict[int, str]:
    """The first rule that a row of decoded records breaks, as a reason, by the row's number."""
    rules = _rules(kind, tuple(frame.schema.items()))
    # One after another, and put together here: for the few rows of a batch at the log's end, spreading
    # the rules over threads takes longer than looking.
    if not any(frame.select_seq(rule.any_broken for rule in rules).row(0)):
        return {}
    reasons: dict[int, str] = {}
    verdicts = frame.select(rule.broken.fill_null(False).alias(str(at)) for at, rule in enumerate(rules))
    for rule, verdict in zip(rules, verdicts.iter_columns(), strict=True):
        for row in np.flatnonzero(verdict.to_numpy()).tolist():
            if row not in reasons:
                reasons[row] = rule.reason(frame, row)
    return reasons


@cache
def _rules(kind: RecordKind, columns: tuple[tuple[str, pl.DataType], ...]) -> tuple[_Rule, ...]:
    rules = list[_Rule]()
    limit = 10**DECIMAL_PRECISION

    def add(broken: pl.Expr, reason: Callable[[pl.DataFrame, int], str]) -> None:
        rules.append(_Rule(broken, broken.any().alias(str(len(rules))), reason))

    def rule(name: str, broken: pl.Expr, allowed: str) -> None:
        add(broken, lambda frame, row: f"{name} was {_shown(frame[name], row)}, must be {allowed}")

    for name, dtype in columns:
        column = pl.col(name)
        number = column.to_physical()
        if isinstance(dtype, pl.Decimal):
            rule(name, (number >= limit) | (number <= -limit), "decimal(28,10)")
        elif isinstance(dtype, pl.Datetime):
            allowed = "microseconds of 1970-01-01 to 2199-12-31"
            rule(name, (number < EARLIEST_US) | (number >= LATEST_US), allowed)
        elif dtype == pl.Date:
            rule(name, (number < FIRST_DAY) | (number > LAST_DAY), "a day of 0001-01-01 to 9999-12-31")
        elif name in _IDENTITY or name == "event_id":
            size = column.str.len_bytes()
            most = MAX_TEXT_BYTES if name != "event_id" else 4 * MAX_TEXT_BYTES
            rule(name, (size == 0) | (size > most), f"1 to {most} bytes")
    if kind.sequenced:
        number = pl.col("source_sequence")
        rule("source_sequence", (number < 0) | number.is_null(), "0 or more")
        feed = _IDENTITY[:3]
        known = pl.any_horizontal(
            pl.all_horizontal(pl.col(name) == part for name, part in zip(feed, parts, strict=True))
            for parts, sequence in FEEDS.items()
            if sequence is FOLDED[kind]
        )
        add(~known, lambda frame, row: refusal(kind, *(frame[name][row] for name in feed)) or "")
    return tuple(rules)


def _shown(column: pl.Series, row: int) -> str:
    # Python's datetime and date cannot show every instant that a record may hold, and its
    # Decimal rounds what has too many digits.
    value = column.to_physical()[row]
    if isinstance(column.dtype, pl.Decimal):
        text = decimals.text(value)
    else:
        text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= MAX_TEXT_BYTES else f"{text[:MAX_TEXT_BYTES]}… ({len(text)} characters)"
