"""Trades as the tail keeps them: decoded and judged by the real thing, from a seeded feed."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import polars as pl

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.market.schema import RecordKind
from seamark.sequencing.state import PartitionState
from seamark.stream.decode import Decoder
from seamark.stream.encode import Encoder
from seamark.stream.log import Run, TopicPartition
from seamark.stream.observe import Observer, Place
from seamark.stream.wire import FIXED_SCHEMA_IDS

KIND = RecordKind.TRADES
WHERE = StreamPartition(1, 0)
TOPIC = TopicPartition("market.crypto.trades.binance", 0)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
START_US = 1_700_000_000_000_000
NOTHING = Checkpoint(0, -1, "", 0, 0)
RECORDS = 3_000


@cache
def observed() -> pl.DataFrame:
    """Rows of RECORDS offsets from 0: one in ten is a repeat and none, times jump back now and then."""
    chance = random.Random(7)
    encoder = Encoder(KIND, FIXED_SCHEMA_IDS[KIND])
    values: list[bytes] = []
    for number in range(RECORDS):
        if values and chance.random() < 0.1:
            values.append(chance.choice(values))
            continue
        time_us = START_US + number * 1_000 - (chance.randrange(200_000) if chance.random() < 0.1 else 0)
        values.append(
            encoder.encode(
                {
                    "exchange": "binance",
                    "market": "spot",
                    "feed": "trade",
                    "symbol": SYMBOLS[int(chance.paretovariate(1)) % len(SYMBOLS)],
                    "source_sequence": number,
                    "timestamp": time_us,
                    "ingestion_timestamp": time_us + chance.randrange(5_000),
                    "price": chance.randrange(10**12).to_bytes(8, "big"),
                    "quantity": b"\x01",
                    "currency": "USDT",
                    "side": chance.choice(("BUY", "SELL")),
                    "trade_conditions": chance.choice((None, [], ["a", "b"])),
                    "vendor_data": chance.choice((None, "{}")),
                    "origin": "STREAM",
                }
            )
        )
    observer = Observer(KIND, Decoder(KIND))
    observer.begin(Place(WHERE, TOPIC, 0, PartitionState(), -1))
    offsets = np.arange(RECORDS)
    run = Run(TOPIC, offsets, START_US + offsets * 1_000 + 3_000, 0, values, [None] * RECORDS)
    [one], _ = observer.observe([run])
    return one.rows


def between(first: int, next_: int) -> pl.DataFrame:
    """Rows of the offsets [first, next_)."""
    rows = observed()
    low, high = np.searchsorted(rows["kafka_offset"].to_numpy(), (first, next_))
    return rows[int(low) : int(high)]
