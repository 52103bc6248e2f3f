"""Trino beside the direct reader: from how many bytes on is it faster, and what does a hybrid answer add to it.

The crossover: the same questions over HTTP, more hours each time, read by one engine and then by the
other, without load. Two shapes: `rows` gives all six columns of a symbol, `sifted` reads as much of
all symbols and gives only the largest trades. Then load profile L runs, and one question is asked in
turn of Trino alone (the statement the gateway would send) and of the gateway, lake and tail together.
What a hybrid answer adds is told apart by two more: Trino alone through a client that leaves rows as
they come, unpacked, as the gateway's does; and the gateway with the direct reader, which is all but Trino.

Needs a JDK of version 25 or newer: see engines/trino.

    python -m bench.crossover [--hours N] [--asks N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlencode

import trino

from bench.lake_rows import MINUTE_US, SYMBOLS
from bench.load import FLUSH_SECONDS, Load, load_with_trino, write_history
from bench.load_questions import SIX
from seamark.local.engines import TrinoServer
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.ordered_rows import needed_columns
from seamark.query_gateway.sources import Window
from seamark.query_gateway.trino_sql import Statement, select

_ROWS_AN_HOUR = 500_000
_REPEATS = 3
_HYBRID_MINUTES = 5
_HYBRID_SYMBOL = SYMBOLS[9]
_SIFTED = "quantity:ge:300"
_HOUR_US = 60 * MINUTE_US


def run(hours: int = 4, asks: int = 40) -> dict[str, object]:
    """Figures. Raises EngineMissingError where there is no JDK that Trino runs on."""
    with load_with_trino() as (running, server):
        end_us = write_history(running.real, hours, _ROWS_AN_HOUR, _HYBRID_MINUTES, 300_000)
        running.start("tail", "gateway")
        figures = _crossover(running, end_us - _HYBRID_MINUTES * MINUTE_US, hours)
        running.start("writer", "venue", "leg0", "leg1")
        time.sleep(FLUSH_SECONDS + 15)  # until both tables have a first commit of it
        return figures | _hybrid(running, server, asks)


def _crossover(running: Load, end_us: int, hours: int) -> dict[str, object]:
    """Milliseconds of each engine by the bytes that are read; and from where on Trino is faster."""
    figures: dict[str, object] = {}
    for shape, extra in (("rows", {"symbols": SYMBOLS[0]}), ("sifted", {"filters": _SIFTED})):
        slower_up_to, faster_from = 0, None
        for span in _growing(hours):
            asked = {"start": str(end_us - span * _HOUR_US), "end": str(end_us), "fields": SIX} | extra
            read_bytes = int(_estimate(running, asked)["bytes"])
            took = {
                engine: statistics.median(_ask(running, asked | {"engine": engine}) for _ in range(_REPEATS))
                for engine in ("direct", "trino")
            }
            figures[f"{shape}_{span}_hours"] = {
                "mib": round(read_bytes / 2**20, 1),
                "direct_ms": round(took["direct"]),
                "trino_ms": round(took["trino"]),
            }
            if took["direct"] <= took["trino"]:
                slower_up_to, faster_from = read_bytes, None
            elif faster_from is None:
                faster_from = read_bytes
        figures[f"{shape}_crossover_mib"] = (
            f"above {round(slower_up_to / 2**20)}" if faster_from is None else round(faster_from / 2**20)
        )
    return figures


def _growing(hours: int) -> list[int]:
    """1, 2, 4 … up to `hours`."""
    spans = [1]
    while spans[-1] * 2 < hours:
        spans.append(spans[-1] * 2)
    return spans if spans[-1] == hours else [*spans, hours]


def _hybrid(running: Load, server: TrinoServer, asks: int) -> dict[str, object]:
    """The last minutes of a symbol: Trino alone, the gateway with Trino and tail, in turn."""
    host, port = server.address
    given = {"host": host, "port": port, "user": "bench", "timezone": "UTC"}
    connection = trino.dbapi.connect(**given)  # type: ignore[no-untyped-call]
    unpacked = trino.dbapi.connect(**given, http_headers={"Accept-Encoding": "identity"})  # type: ignore[no-untyped-call]
    alone, plain, together, direct, rows = [], [], [], [], 0
    for _ in range(asks):
        from_us = time.time_ns() // 1_000 - 2 * _HYBRID_MINUTES * MINUTE_US
        asked = {"symbols": _HYBRID_SYMBOL, "start": str(from_us), "fields": SIX}
        statement = select(
            '"lake"."market"."trades"',
            RecordKind.TRADES,
            running.snapshot("trades"),
            needed_columns(RecordKind.TRADES, SIX.split(",")),
            Predicate(symbols=(_HYBRID_SYMBOL,), from_us=from_us),
            Window(),
            None,
        )
        took, rows = _fetched(connection.cursor(), statement)
        alone.append(took)
        together.append(_ask(running, asked | {"engine": "trino"}))
        plain.append(_fetched(unpacked.cursor(legacy_primitive_types=True), statement)[0])
        direct.append(_ask(running, asked | {"engine": "direct"}))
    over = [both - one for both, one in zip(together, alone, strict=True)]
    return {
        "rows_of_trino": rows,
        "trino_alone_ms": _percentiles(alone),
        "trino_alone_rows_as_they_come_ms": _percentiles(plain),
        "hybrid_through_trino_ms": _percentiles(together),
        "hybrid_through_direct_reader_ms": _percentiles(direct),
        "hybrid_over_trino_alone_ms": {"p50": round(statistics.median(over), 1)},
    }


def _fetched(cursor: trino.dbapi.Cursor, statement: Statement) -> tuple[float, int]:
    """(milliseconds until all rows are there, how many)"""
    began = time.perf_counter()
    cursor.execute(statement.sql, statement.parameters)  # type: ignore[no-untyped-call]
    rows = len(cursor.fetchall())
    return (time.perf_counter() - began) * 1e3, rows


def _percentiles(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 1),
    }


def _ask(running: Load, asked: Mapping[str, str]) -> float:
    """Milliseconds until the last byte of the answer as Arrow."""
    query = urlencode({**asked, "format": "arrow", "timeout_seconds": "300"})
    began = time.perf_counter()
    with urllib.request.urlopen(f"{running.url}/v1/trades?{query}", timeout=600) as answer:
        while answer.read(1 << 20):
            pass
    return (time.perf_counter() - began) * 1e3


def _estimate(running: Load, asked: Mapping[str, str]) -> dict[str, float]:
    with urllib.request.urlopen(f"{running.url}/v1/estimate?{urlencode(asked)}", timeout=60) as answer:
        return dict(json.loads(answer.read()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=4)
    parser.add_argument("--asks", type=int, default=40, help="of the hybrid question")
    given = parser.parse_args()
    print(json.dumps(run(given.hours, given.asks), indent=1))


if __name__ == "__main__":
    main()
