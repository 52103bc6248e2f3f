"""The tail-cache on real engines: how soon a record can be asked for, and what asking costs.

Trades of eight symbols in four partitions; no writer runs, so that all of them stay in the tail.
First from behind (a filled topic), then questions, then at 20,000 records a second.

    python -m bench.tail [--trades N] [--seconds N]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from itertools import islice

import grpc
import psutil
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from bench.engines import Engines, cpu_seconds, engines
from bench.trades import TOPIC, trades
from bench.writer_throughput import PARTITIONS, SYMBOLS, fill
from seamark.local.engines.ports import LOOPBACK, kept_ports
from seamark.market.routing import Routing, bundled_tiers, routing_for
from seamark.market.schema import RecordKind
from seamark.rpc.v1 import predicate_pb2, tail_pb2, tail_pb2_grpc

SIX = ("timestamp", "symbol", "source_sequence", "price", "quantity", "side")
RATE = 20_000
"""Records a second, all partitions together."""
_TICK_SECONDS = 0.005
_REQUESTS = 1_000
_DEADLINE_SECONDS = 300.0


def run(count: int = 4_000_000, seconds: float = 60.0) -> dict[str, object]:
    """Figures of one tail. Raises RuntimeError unless it comes to hold every record."""
    with engines() as real:
        ports = kept_ports(real.directory, ["grpc", "metrics"], {})
        environment = real.writer_environment(
            PARTITIONS=PARTITIONS,
            GRPC_PORT=ports["grpc"],
            METRICS_PORT=ports["metrics"],
            SPILL_FOLDER=real.directory / "spill",
            MEMORY_BYTES=8 * 1024**3,
        )
        init = [sys.executable, "-m", "seamark.consumer_writer", "init"]
        subprocess.run(init, env=environment, check=True, capture_output=True)
        fill(real.kafka.bootstrap, count)
        log = real.directory / "tail.log"
        with log.open("wb") as output, grpc.insecure_channel(f"{LOOPBACK}:{ports['grpc']}") as channel:
            process = subprocess.Popen(
                [sys.executable, "-m", "seamark.tail_cache"], env=environment, stderr=output, stdout=output
            )
            try:
                tail = _Tail(process, tail_pb2_grpc.TailServiceStub(channel), ports["metrics"])
                return _behind(tail, count) | _questions(tail) | _replays(tail) | _fresh(tail, real, seconds)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


class _Tail:
    """The process under test, as its clients see it."""

    def __init__(
        self, process: subprocess.Popen[bytes], stub: tail_pb2_grpc.TailServiceStub, metrics_port: int
    ) -> None:
        self._process = process
        self._stub = stub
        self._metrics_port = metrics_port
        self.watched = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.watched)

    def held(self) -> dict[int, int]:
        """hi by partition; empty while it does not answer."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the tail ended with {self._process.returncode}")
        try:
            answer = self._stub.GetWatermarks(tail_pb2.GetWatermarksRequest(table="trades"), timeout=10)
        except grpc.RpcError:
            return {}
        return {mark.partition: mark.hi for mark in answer.partitions}

    def read(self, ranges: dict[int, int], columns: tuple[str, ...] = (), symbol: str = "") -> int:
        """Rows of [from, hi) of partitions; the answer's bytes are not looked at."""
        request = tail_pb2.ReadRangesRequest(
            table="trades",
            ranges=[
                tail_pb2.ReadRange(stream_id=1, partition=partition, from_offset=first)
                for partition, first in ranges.items()
            ],
            columns=columns,
            predicate=predicate_pb2.Predicate(symbols=[symbol] if symbol else []),
        )
        *_, last = self._stub.ReadRanges(request, timeout=_DEADLINE_SECONDS)
        return int(last.trailer.rows)

    def on_its_way(self) -> dict[float, float]:
        """Cumulative counts of the append-to-queryable histogram, by upper bound in seconds."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._metrics_port}/metrics") as answer:
            text = answer.read().decode()
        return {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "seamark_tail_append_to_queryable_seconds_bucket"
            and sample.labels["table"] == "trades"
        }


def _behind(tail: _Tail, count: int) -> dict[str, object]:
    """From the process's start to holding a filled topic."""
    began = time.monotonic()
    first_held: float | None = None
    while (held := sum(tail.held().values())) < count:
        if time.monotonic() - began > _DEADLINE_SECONDS:
            raise RuntimeError(f"the tail held {held} of {count} records")
        if held and first_held is None:
            first_held, held_then = time.monotonic(), held
        time.sleep(0.05)
    seconds = time.monotonic() - (first_held or began)
    return {
        "trades": count,
        "catch_up_trades_per_second": round((count - (held_then if first_held else 0)) / seconds),
        "catch_up_cpu_us_per_trade": round(tail.cpu_seconds() / count * 1e6, 2),
        "rss_mib": round(tail.watched.memory_info().rss / 2**20),
    }


def _questions(tail: _Tail) -> dict[str, object]:
    """The last thousand rows of one symbol, asked one after the other."""
    symbol = SYMBOLS[0]
    partition = _routing().partition_of(symbol)
    sharing = sum(_routing().partition_of(other) == partition for other in SYMBOLS)
    ranges = {partition: tail.held()[partition] - 1_000 * sharing}
    figures: dict[str, object] = {}
    for name, columns in (("", ()), ("_six_columns", SIX)):
        times, cpu = _asked(tail, _REQUESTS, partial(tail.read, ranges, columns, symbol))
        figures[f"thousand_rows{name}_ms"] = {
            "p50": round(times[len(times) // 2] * 1e3, 2),
            "p99": round(times[len(times) * 99 // 100] * 1e3, 2),
            "server_cpu": round(cpu / _REQUESTS * 1e3, 2),
        }
    return figures


def _replays(tail: _Tail) -> dict[str, object]:
    """All rows of one symbol, and of all, six columns: rows per second of the server's own CPU."""
    symbol = SYMBOLS[0]
    partition = _routing().partition_of(symbol)
    figures: dict[str, object] = {}
    for name, ranges, wanted in (
        ("replay_one_symbol", {partition: 0}, symbol),
        ("replay_all_symbols", dict.fromkeys(range(PARTITIONS), 0), ""),
    ):
        rows = tail.read(ranges, SIX, wanted)
        times, cpu = _asked(tail, 5, partial(tail.read, ranges, SIX, wanted))
        figures[f"{name}_rows"] = rows
        figures[f"{name}_rows_per_second"] = round(rows / times[len(times) // 2])
        figures[f"{name}_rows_per_server_cpu_second"] = round(rows * len(times) / cpu)
    return figures


def _asked(tail: _Tail, times: int, ask: Callable[[], int]) -> tuple[list[float], float]:
    """(sorted seconds of each call, the server's CPU seconds of all)"""
    taken = []
    before = tail.cpu_seconds()
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return sorted(taken), tail.cpu_seconds() - before


def _fresh(tail: _Tail, real: Engines, seconds: float) -> dict[str, object]:
    """At the log's end: append to queryable while records come at RATE."""
    producer = multiprocessing.get_context("spawn").Process(
        target=_produce, args=(real.kafka.bootstrap, _routing().to_json(), seconds)
    )
    held = sum(tail.held().values())
    before, cpu = tail.on_its_way(), tail.cpu_seconds()
    producer.start()
    producer.join()
    if producer.exitcode:
        raise RuntimeError("producing failed")
    cpu = tail.cpu_seconds() - cpu
    after = tail.on_its_way()
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in after}
    return {
        "rate": round((sum(tail.held().values()) - held) / seconds),
        "append_to_queryable_ms": {"p50": quantile(counts, 0.5), "p99": quantile(counts, 0.99)},
        "batches_per_second": round(counts[float("inf")] / PARTITIONS / seconds),
        "cores_used": round(cpu / seconds, 2),
    }


def quantile(counts: dict[float, float], share: float) -> float:
    """Milliseconds, linear within a bucket, as Prometheus has it."""
    wanted = counts[float("inf")] * share
    low, below = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted:
            inside = (wanted - below) / (count - below) if count > below else 1.0
            return round((low + (bound - low) * inside) * 1e3, 2)
        low, below = bound, count
    return float("inf")


def _routing() -> Routing:
    return routing_for(TOPIC, RecordKind.TRADES, PARTITIONS, bundled_tiers("crypto"))


def _others(routing: Routing) -> tuple[str, ...]:
    """Two symbols for each partition that the topic has no trades of: none of theirs is a repeat."""
    found: dict[int, list[str]] = {partition: [] for partition in range(PARTITIONS)}
    for symbol in (*routing.tiers, "RAREUSDT", "SELDOMUSDT"):
        if symbol not in SYMBOLS:
            found[routing.partition_of(symbol)].append(symbol)
    return tuple(symbol for symbols in found.values() for symbol in symbols[:2])


def _produce(bootstrap: str, routing_text: str, seconds: float) -> None:
    """RATE records a second in small portions, as legs send them; encoded before the clock runs."""
    routing = Routing.from_json(routing_text)
    symbols = _others(routing)
    places = [(symbol.encode(), routing.partition_of(symbol)) for symbol in symbols]
    values = list(islice(trades(symbols, seed=99), round(RATE * seconds)))
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 1}
    )
    portion = round(RATE * _TICK_SECONDS)
    began = time.monotonic()
    for tick, start in enumerate(range(0, len(values), portion)):
        time.sleep(max(0.0, began + tick * _TICK_SECONDS - time.monotonic()))
        for at in range(start, min(start + portion, len(values))):
            key, partition = places[at % len(places)]
            producer.produce(TOPIC, values[at], key, partition)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("records were not acknowledged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trades", type=int, default=4_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    print(json.dumps(run(given.trades, given.seconds), indent=1))


if __name__ == "__main__":
    main()
