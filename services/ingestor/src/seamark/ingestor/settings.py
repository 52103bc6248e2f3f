"""What a leg can be told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from seamark.ingestor.frames import FEEDS
from seamark.settings import CommaSeparated, ServiceSettings

_SYMBOL = re.compile(r"[A-Z0-9]{2,20}")
# The venue allows 1,024 streams on a connection.
_MOST_SYMBOLS = 1_024 // len(FEEDS)


def _symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise ValueError(f"{symbol!r} is not a symbol")
    if len(set(symbols)) < len(symbols):
        raise ValueError("a symbol stands there twice")
    return symbols


class LegSettings(ServiceSettings):
    """Settings of a leg."""

    exchange: Literal["binance"] = Field("binance", description="binance")
    symbols: Annotated[CommaSeparated, AfterValidator(_symbols)] = Field(
        ("BTCUSDT", "ETHUSDT"),
        min_length=1,
        max_length=_MOST_SYMBOLS,
        description=f"1 to {_MOST_SYMBOLS} distinct symbols in upper case, separated by commas",
    )
    leg: str = Field(
        "a", pattern=r"^[a-z0-9-]{1,16}$", description="1 to 16 lower-case letters, digits, hyphens"
    )
    shard: int = Field(0, ge=0, le=9_999, description="number of this group of symbols, 0 to 9999")
    venue_ws_url: str = Field(
        "wss://stream.binance.com:9443",
        pattern=r"^wss?://[^/?#\s]+$",
        description="ws:// or wss:// and a host, without a path",
    )
    venue_rest_url: str = Field(
        "https://api.binance.com",
        pattern=r"^https?://[^/?#\s]+$",
        description="http:// or https:// and a host, without a path",
    )
    tiers_file: Path | None = Field(None, description="a JSON file of tiers; unset: the bundled one")
    unacked_limit: int = Field(
        200_000,
        ge=100,
        le=5_000_000,
        description="100 to 5000000: records that may wait for acknowledgement (about 0.4 KB each)",
    )
    linger_ms: float = Field(10.0, ge=0, le=1_000, description="0 to 1000: milliseconds to gather a batch")
    kafka_wait_seconds: float = Field(
        30.0, gt=0, le=3_600, description="0 to 3600: seconds to wait for Kafka at start"
    )
    drain_seconds: float = Field(
        25.0, gt=0, le=600, description="0 to 600: seconds for the last acknowledgements at the end"
    )
