"""Trades as rows of the lake, a minute at a time: load profile L without the way through Kafka."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from seamark.market.order import iceberg_sort_columns, sort_frame
from seamark.market.schema import RecordKind, row_schema

START_US = 1_723_118_400_000_000
MINUTE_US = 60_000_000
_BASES = (
    *("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "PEPE", "SHIB", "LINK", "AVAX", "SUI", "TRX", "DOT"),
    *("LTC", "BCH", "UNI", "NEAR", "APT", "ARB", "OP", "FIL", "ATOM", "INJ", "TIA", "SEI"),
)
SYMBOLS = tuple(f"{base}{quote}" for base in _BASES for quote in ("USDT", "USDC"))
"""By popularity: the nth has a share of 1/n."""
_TICK = {"price": 10**8, "quantity": 10**5}
_PARTITIONS = 4


class LakeRows:
    """Seeded, endless. Ids and offsets go on from call to call."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        share = 1 / np.arange(1, len(SYMBOLS) + 1)
        self._cumulative = np.cumsum(share / share.sum())
        self._next_id = np.full(len(SYMBOLS), 3_735_683_259)
        self._price = self._rng.integers(10**6, 10**8, len(SYMBOLS))
        self._next_offset = np.zeros(_PARTITIONS, np.int64)

    def rows(self, start_us: int, span_us: int, count: int) -> pa.Table:
        """`count` trades of [start, start + span), in the declared order, as the writer hands them over."""
        rng = self._rng
        at_ms = np.sort(rng.integers(0, span_us // 1_000, count))
        symbol = np.searchsorted(self._cumulative, rng.random(count)).clip(0, len(SYMBOLS) - 1)
        ids, price = np.empty(count, np.int64), np.empty(count, np.int64)
        for number in range(len(SYMBOLS)):
            mine = np.flatnonzero(symbol == number)
            ids[mine] = self._next_id[number] + np.arange(len(mine))
            price[mine] = self._price[number] + np.cumsum(rng.integers(-1, 2, len(mine)))
            self._next_id[number] += len(mine)
            if len(mine):
                self._price[number] = price[mine[-1]]
        partition = symbol % _PARTITIONS
        offset = np.empty(count, np.int64)
        for number in range(_PARTITIONS):
            mine = np.flatnonzero(partition == number)
            offset[mine] = self._next_offset[number] + np.arange(len(mine))
            self._next_offset[number] += len(mine)
        time_us = start_us + at_ms * 1_000
        received_us = time_us + rng.integers(3_000, 30_000, count)
        quantity = (rng.lognormal(3, 2, count) * 1_000).astype(np.int64) + 1
        instant = pl.Datetime("us", "UTC")
        constants = {"asset_class": "crypto", "exchange": "binance", "market": "spot", "feed": "trade"}
        frame = pl.DataFrame(
            {
                "symbol": pl.Series(SYMBOLS).gather(symbol).cast(pl.Categorical),
                "kafka_partition": partition.astype(np.int32),
                "kafka_offset": offset,
                "kafka_timestamp": pl.Series(np.maximum.accumulate(received_us + 2_000)).cast(instant),
                "source_sequence": ids,
                "timestamp": pl.Series(time_us).cast(instant),
                "published_timestamp": pl.Series(time_us + 1_000).cast(instant),
                "ingestion_timestamp": pl.Series(received_us).cast(instant),
                "price": price,
                "quantity": quantity,
                "side": pl.Series(("BUY", "SELL")).gather(rng.integers(0, 2, count)),
            }
        ).with_columns(
            *(pl.lit(value).cast(pl.Categorical).alias(name) for name, value in constants.items()),
            currency=pl.lit("USDT").cast(pl.Categorical),
            origin=pl.lit("STREAM"),
            stream_id=pl.lit(1, pl.Int32),
            id_epoch=pl.lit(0, pl.Int32),
            repair_seq=pl.lit(0, pl.Int32),
        )
        frame = sort_frame(frame, iceberg_sort_columns(RecordKind.TRADES))
        table = frame.to_arrow()
        columns = []
        for field in row_schema(RecordKind.TRADES):
            if field.name in _TICK:
                columns.append(_decimal(frame[field.name], _TICK[field.name], field.type))
            elif field.name in table.column_names:
                columns.append(table[field.name])
            else:
                columns.append(pa.nulls(count, field.type))
        return pa.table(columns, names=row_schema(RecordKind.TRADES).names)


def _decimal(ticks: pl.Series, tick: int, arrow: pa.DataType) -> pa.Array:
    """Positive numbers of ticks as 128-bit decimals."""
    digits = np.zeros((len(ticks), 2), np.int64)
    digits[:, 0] = ticks.to_numpy() * tick
    return pa.Array.from_buffers(arrow, len(ticks), [None, pa.py_buffer(digits)])
