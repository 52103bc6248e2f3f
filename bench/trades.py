"""Framed trades of the real schema, as a leg would send them: seeded, endless, cheap enough to fill a topic."""

from __future__ import annotations

import random
from collections.abc import Iterator

from seamark.market.decimals import to_bytes
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder
from seamark.stream.topics import market_topic
from seamark.stream.wire import FIXED_SCHEMA_IDS

TOPIC = market_topic("crypto", RecordKind.TRADES, "binance")
START_US = 1_723_161_255_342_000
_FIRST_ID = 3_735_683_259


def trades(symbols: tuple[str, ...], seed: int) -> Iterator[bytes]:
    """Trades of `symbols` in turn. Two thirds share their millisecond; a price moves a tick at most."""
    encoder = Encoder(RecordKind.TRADES, FIXED_SCHEMA_IDS[RecordKind.TRADES])
    rng = random.Random(seed)
    price, time_us, at = 6_183_763 * 10**8, START_US, 0
    while True:
        time_us += 1_000 if at % 3 == 0 else 0
        price += rng.randrange(-1, 2) * 10**8
        yield encoder.encode(
            {
                "exchange": "binance",
                "market": "spot",
                "feed": "trade",
                "symbol": symbols[at % len(symbols)],
                "source_sequence": _FIRST_ID + at // len(symbols),
                "timestamp": time_us,
                "published_timestamp": time_us + 1_000,
                "ingestion_timestamp": time_us + 4_000 + at % 700,
                "price": to_bytes(price),
                "quantity": to_bytes(rng.randrange(1, 10**6) * 10**5),
                "currency": "USDT",
                "side": "BUY" if at % 2 else "SELL",
                "origin": "STREAM",
            }
        )
        at += 1
