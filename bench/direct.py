"""The direct reader alone, on a real object store: load profile L's files, 50 symbols of skewed popularity.

An hour of one file a minute with 300,000 trades, and a day of one file an hour. Questions come one
after the other unless a figure names clients. No tail, no merge, no HTTP.

    python -m bench.direct [--minutes N]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pyiceberg.catalog import Catalog, load_catalog

from bench.lake_rows import MINUTE_US, START_US, SYMBOLS, LakeRows
from seamark.lake.iceberg import IcebergTable
from seamark.lake.tables import create_table
from seamark.lake.view import Change
from seamark.local.engines import CatalogServer
from seamark.market.order import total_order
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.direct import DirectReader
from seamark.query_gateway.merge import ordered
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.sources import Window

KIND = RecordKind.TRADES
ROWS_A_MINUTE = 300_000
ROWS_AN_HOUR_OF_THE_DAY = 1_000_000
ORDERED = (*total_order(KIND), "price", "quantity", "side")
"""What an answer of a trade's price, quantity and side is made of."""
SIX = ("symbol", "timestamp", "source_sequence", "price", "quantity", "side")
BARS = ("timestamp", "price", "quantity")
THREADS = 8
CACHE_BYTES = 1024**3
NEVER = threading.Event()


class BenchTable:
    """A table that is written minute by minute."""

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        create_table(catalog, namespace, KIND)
        self._lake = IcebergTable(catalog, namespace, KIND.value)
        self._source = LakeRows(seed=1)
        self.end_us = START_US

    def append(self, span_us: int, count: int) -> float:
        """One commit. Seconds that writing the file took."""
        rows = self._source.rows(self.end_us, span_us, count)
        view = self._lake.load()
        began = time.perf_counter()
        files = self._lake.write_rows(view, rows)
        seconds = time.perf_counter() - began
        self._lake.commit(view, Change({"seamark.revision": "0"}, {}, files))
        self.end_us += span_us
        return seconds

    def pin(self) -> Pin:
        view = self._lake.load()
        return Pin(KIND.value, view.head_id, {}, {}, 0, (), {}, view)


def ask(reader: DirectReader, pin: Pin, predicate: Predicate, columns: tuple[str, ...] = ORDERED) -> int:
    """Rows of one answer."""
    plan = reader.plan(pin, predicate, columns)
    return sum(len(frame) for frame in reader.read(plan, Window(), None, NEVER))


def run(minutes: int = 60) -> dict[str, object]:
    """Figures; milliseconds as p50, p99."""
    with tempfile.TemporaryDirectory(prefix="seamark-bench-") as name:
        server = CatalogServer(Path(name))
        server.start()
        try:
            catalog = load_catalog("lake", **server.properties())
            hour = BenchTable(catalog, "minutes")
            writes = [hour.append(MINUTE_US, ROWS_A_MINUTE) for _ in range(minutes)]
            day = BenchTable(catalog, "hours")
            for _ in range(24):
                day.append(60 * MINUTE_US, ROWS_AN_HOUR_OF_THE_DAY)
            return {
                "write_file_p50_ms": round(float(np.median(writes)) * 1e3, 1),
                **_recent(hour),
                **_history(hour),
                **_export(hour),
                **_day(day),
            }
        finally:
            server.kill()


def _recent(table: BenchTable) -> dict[str, object]:
    """The last 15 minutes of one symbol."""
    rng = random.Random(1)

    def last(symbol: str) -> Predicate:
        return Predicate(symbols=(symbol,), from_us=table.end_us - 15 * MINUTE_US)

    pin = table.pin()
    cold = []
    for symbol in rng.sample(SYMBOLS, 10):
        reader = DirectReader(CACHE_BYTES, THREADS)
        cold.append(_ms(lambda: ask(reader, pin, last(symbol))))  # noqa: B023 - called at once
        reader.close()
    reader = DirectReader(CACHE_BYTES, THREADS)
    first_warm = _ms(lambda: reader.warm(pin))
    first = [_ms(lambda: ask(reader, pin, last(symbol))) for symbol in SYMBOLS]  # noqa: B023
    again = [_ms(lambda: ask(reader, pin, last(rng.choice(SYMBOLS)))) for _ in range(1_000)]

    def client(seed: int) -> list[float]:
        mine = random.Random(seed)
        return [_ms(lambda: ask(reader, pin, last(mine.choice(SYMBOLS)))) for _ in range(50)]

    with ThreadPoolExecutor(20) as clients:
        together = [one for some in clients.map(client, range(20)) for one in some]
    warm, after = [], []
    for _ in range(10):
        table.append(MINUTE_US, ROWS_A_MINUTE)
        pin = table.pin()
        warm.append(_ms(lambda: reader.warm(pin)))  # noqa: B023
        after += [_ms(lambda: ask(reader, pin, last(symbol))) for symbol in rng.sample(SYMBOLS, 10)]  # noqa: B023
    reader.close()
    return {
        "recent_nothing_kept_ms": _percentiles(cold),
        "warm_at_start_ms": round(first_warm, 1),
        "recent_first_after_warm_ms": _percentiles(first),
        "recent_again_ms": _percentiles(again),
        "recent_again_20_clients_ms": _percentiles(together),
        "warm_after_a_commit_ms": _percentiles(warm),
        "recent_after_a_commit_ms": _percentiles(after),
    }


def _history(table: BenchTable) -> dict[str, object]:
    """Five minutes of one symbol from anywhere in the hour, with too small a cache to keep it all."""
    rng = random.Random(2)
    pin = table.pin()
    reader = DirectReader(CACHE_BYTES // 16, THREADS)

    def question() -> Predicate:
        start_us = rng.randrange(START_US, table.end_us - 5 * MINUTE_US)
        return Predicate(symbols=(rng.choice(SYMBOLS),), from_us=start_us, to_us=start_us + 5 * MINUTE_US)

    took = [_ms(lambda: ask(reader, pin, question())) for _ in range(300)]
    reader.close()
    return {"history_5_minutes_ms": _percentiles(took)}


def _export(table: BenchTable) -> dict[str, object]:
    """Everything there is, as Arrow, with nothing kept."""
    pin = table.pin()

    def one_symbol(reader: DirectReader) -> int:
        plan = reader.plan(pin, Predicate(symbols=(SYMBOLS[0],)), SIX)
        return sum(frame.to_arrow().num_rows for frame in reader.read(plan, Window(), None, NEVER))

    def all_in_order(reader: DirectReader) -> int:
        columns = tuple(dict.fromkeys((*SIX, *total_order(KIND))))
        plan = reader.plan(pin, Predicate(), columns)
        count = 0
        for window in plan.windows(250_000):
            frames = [*reader.read(plan, window, None, NEVER)]
            count += ordered(frames, KIND, columns, False).select(SIX).to_arrow().num_rows
        return count

    figures: dict[str, object] = {}
    for name, work in (("export_one_symbol", one_symbol), ("export_all_in_order", all_in_order)):
        reader = DirectReader(CACHE_BYTES, THREADS)
        began, cpu = time.perf_counter(), time.process_time()
        rows = work(reader)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        reader.close()
        figures[name] = {
            "rows": rows,
            "rows_per_second": round(rows / seconds),
            "rows_per_cpu_second": round(rows / cpu_seconds),
        }
    return figures


def _day(table: BenchTable) -> dict[str, object]:
    """What bars of one symbol over a day are made of: the tenth in popularity."""
    pin = table.pin()
    predicate = Predicate(symbols=(SYMBOLS[9],), from_us=START_US, to_us=table.end_us)
    reader = DirectReader(CACHE_BYTES, THREADS)
    rows = reader.plan(pin, predicate, BARS).estimate.rows  # footers are read
    first = _ms(lambda: ask(reader, pin, predicate, BARS))
    again = [_ms(lambda: ask(reader, pin, predicate, BARS)) for _ in range(20)]
    reader.close()
    return {"day_rows": rows, "day_first_ms": round(first, 1), "day_again_ms": _percentiles(again)}


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _percentiles(milliseconds: list[float]) -> dict[str, float]:
    return {
        "p50": round(float(np.percentile(milliseconds, 50)), 1),
        "p99": round(float(np.percentile(milliseconds, 99)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    print(json.dumps(run(parser.parse_args().minutes), indent=1))


if __name__ == "__main__":
    main()
