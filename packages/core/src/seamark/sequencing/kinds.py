"""Which kind of sequence a feed numbers its records by, and which kinds are folded."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType

from seamark.market.schema import RecordKind


class SequenceKind(Enum):
    """How a venue numbers the records of a feed."""

    CONTIGUOUS = "contiguous"
    """+1 per symbol: Binance spot trade ids."""
    RANGE = "range"
    """Each record covers first..last of another sequence: Binance aggTrade."""
    LINKED = "linked"
    """Each record names its predecessor: Binance USD-M depth."""
    PER_CONNECTION = "per_connection"
    """+1 per connection over all channels: Coinbase."""
    MONOTONE = "monotone"
    """Greater, with holes: Binance book ticker update ids."""
    NONE = "none"
    """No number at all."""


FEEDS = MappingProxyType(
    {
        ("binance", "spot", "trade"): SequenceKind.CONTIGUOUS,
        ("binance", "spot", "aggTrade"): SequenceKind.RANGE,
        ("binance", "spot", "blockTrade"): SequenceKind.NONE,
        ("binance", "spot", "bookTicker"): SequenceKind.MONOTONE,
        ("binance", "usdm", "aggTrade"): SequenceKind.RANGE,
    }
)
"""Sequence kind of (exchange, market, feed), from the venues' documentation."""

FOLDED = MappingProxyType(
    {RecordKind.TRADES: SequenceKind.CONTIGUOUS, RecordKind.QUOTES: SequenceKind.MONOTONE}
)
"""The one kind that `fold` understands for each kind of record."""


def refusal(kind: RecordKind, exchange: str, market: str, feed: str) -> str | None:
    """Why records of this feed cannot be rows of `kind` in this build, or None if they can."""
    sequence = FEEDS.get((exchange, market, feed))
    if sequence is FOLDED[kind]:
        return None
    allowed = ", ".join(":".join(name) for name, known in FEEDS.items() if known is FOLDED[kind])
    numbered = "unknown" if sequence is None else sequence.value
    return (
        f"feed was {exchange}:{market}:{feed} (sequence {numbered}), "
        f"must be one of {allowed} for {kind.value}"
    )
