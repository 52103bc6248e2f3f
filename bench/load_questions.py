"""What the load profile's clients ask, seeded. Symbols are drawn evenly, so that most are seldom traded."""

from __future__ import annotations

import random

from bench.asking import Ask
from bench.lake_rows import SYMBOLS

SIX = "symbol,timestamp,source_sequence,price,quantity,side"
DAY_SYMBOL = SYMBOLS[9]
"""Of bars over a day: the tenth in popularity."""
_MINUTE, _HOUR = 60.0, 3_600.0
_HISTORY_SECONDS = (20 * _MINUTE, 30 * _MINUTE)
"""So long ago at least and at most: what is in the lake for sure, and dense."""


def tail_rows(count: int, form: str) -> list[Ask]:
    """The newest thousand rows of the most traded symbol: about a second of them, none committed yet."""
    parameters = {"symbols": SYMBOLS[0], "last": "1000", "seconds": "3", "fields": SIX, "format": form}
    return [Ask("/v1/trades/recent", parameters)] * count


def hybrid(count: int) -> list[Ask]:
    """All rows of the last 15 minutes of a symbol, Arrow."""
    rng = random.Random(1)
    return [
        Ask(
            "/v1/trades",
            {"symbols": rng.choice(SYMBOLS), "fields": SIX, "format": "arrow", "engine": "direct"},
            15 * _MINUTE,
        )
        for _ in range(count)
    ]


def history(count: int) -> list[Ask]:
    """The first thousand rows of five minutes of a symbol, JSON."""
    rng = random.Random(2)
    found = []
    for _ in range(count):
        start = rng.uniform(*_HISTORY_SECONDS)
        parameters = {"symbols": rng.choice(SYMBOLS), "fields": SIX, "limit": "1000"}
        found.append(Ask("/v1/trades", parameters, start, start - 5 * _MINUTE))
    return found


def bars_of_a_day(count: int) -> list[Ask]:
    """Minutes of a day of one symbol, up to now."""
    return [Ask("/v1/bars", {"symbol": DAY_SYMBOL, "interval": "1m"}, 24 * _HOUR, 0.0)] * count


def mix(count: int) -> list[Ask]:
    """The whole API as a page of charts and a few programs would ask it."""
    rng = random.Random(4)
    return [_mixed(rng) for _ in range(count)]


def _mixed(rng: random.Random) -> Ask:
    symbol = rng.choice(SYMBOLS)
    kind = rng.choices(range(len(_SHARES)), _SHARES)[0]
    match kind:
        case 0:
            return Ask("/v1/trades/recent", {"symbols": symbol, "last": "100", "seconds": "60"})
        case 1:
            return Ask("/v1/quotes/recent", {"symbols": symbol, "last": "100", "seconds": "60"})
        case 2:
            return tail_rows(1, "json")[0]
        case 3:
            return Ask("/v1/trades", {"symbols": symbol, "fields": SIX, "limit": "1000"}, 15 * _MINUTE)
        case 4:
            return Ask("/v1/trades", {"symbols": symbol, "fields": SIX, "format": "arrow"}, 15 * _MINUTE)
        case 5:
            start = rng.uniform(*_HISTORY_SECONDS)
            parameters = {"symbols": symbol, "fields": SIX, "limit": "1000"}
            return Ask("/v1/trades", parameters, start, start - 5 * _MINUTE)
        case 6:
            return Ask("/v1/bars", {"symbol": symbol, "interval": "1m"}, _HOUR, 0.0)
        case 7:
            return Ask("/v1/aggregate", {"symbol": symbol}, 5 * _MINUTE, 0.0)
        case 8:
            return Ask("/v1/asof", {"symbols": symbol}, 30.0, 0.0)
        case 9:
            return Ask("/v1/watermark/trades", {})
        case _:
            return Ask("/v1/estimate", {"table": "trades", "symbols": symbol}, 15 * _MINUTE)


_SHARES = (30, 15, 10, 10, 5, 10, 8, 4, 3, 3, 2)
"""Percent of each kind of `_mixed`."""
