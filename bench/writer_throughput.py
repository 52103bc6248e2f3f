"""Kafka to Iceberg through one writer process: trades a second from a pre-filled topic.

The real broker, the real REST catalog, the real Trade schema, sorted zstd Parquet. The topic
is filled first; then `python -m seamark.consumer_writer run` starts, and the clock runs from
its first assignment to the commit that carries the last offset.

    python -m bench.writer_throughput [--trades N]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from itertools import islice

import psutil
from confluent_kafka import Producer
from pyiceberg.catalog import load_catalog

from bench.engines import Engines, cpu_seconds, engines
from bench.trades import TOPIC, trades
from seamark.lake.iceberg import IcebergTable
from seamark.market.routing import Routing, bundled_tiers, routing_for
from seamark.market.schema import RecordKind

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "SHIBUSDT", "ARBUSDT", "JASMYUSDT", "ABCUSDT", "XYZUSDT")
PARTITIONS = 4


def run(count: int = 21_000_000) -> dict[str, object]:
    """Figures of one drain of `count` trades. Raises RuntimeError unless every one became a row."""
    with engines() as real:
        environment = real.writer_environment(FLUSH_SECONDS=10, PARTITIONS=PARTITIONS, LOG_LEVEL="INFO")
        command = [sys.executable, "-m", "seamark.consumer_writer"]
        subprocess.run([*command, "init"], env=environment, check=True, capture_output=True)
        filled = time.monotonic()
        fill(real.kafka.bootstrap, count)
        fill_seconds = time.monotonic() - filled
        log = real.directory / "writer.log"
        before = real.cpu_seconds()
        with log.open("wb") as output:
            process = subprocess.Popen([*command, "run"], env=environment, stderr=output, stdout=output)
        try:
            figures = _watch(real, process, count)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        after = real.cpu_seconds()
        commits = [json.loads(line) for line in log.read_text().splitlines() if '"committed"' in line]
        seconds = sorted(entry["seconds"] for entry in commits if entry["table"] == "trades")
        figures |= {
            "trades": count,
            "fill_seconds": round(fill_seconds, 1),
            "kafka_cpu_seconds": round(after["kafka"] - before["kafka"], 1),
            "catalog_cpu_seconds": round(after["catalog"] - before["catalog"], 1),
            "commits": len(seconds),
            "commit_median_seconds": seconds[len(seconds) // 2],
        }
        return figures


def _watch(real: Engines, process: subprocess.Popen[bytes], count: int) -> dict[str, object]:
    """Wait until H is at the end; sample memory and CPU on the way."""
    catalog = load_catalog("lake", **real.catalog.properties())
    table = IcebergTable(catalog, "market", RecordKind.TRADES.value)
    watched = psutil.Process(process.pid)
    began = time.monotonic()
    peak_bytes = 0
    deadline = began + 900
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the writer ended with {process.returncode}")
        peak_bytes = max(peak_bytes, watched.memory_info().rss)
        cpu = cpu_seconds(watched)
        points = table.load().checkpoints
        written = sum(point.counters.written for point in points.values())
        if written >= count:
            seconds = time.monotonic() - began
            counters = [point.counters for point in points.values()]
            if sum(counter.total for counter in counters) != count or written != count:
                raise RuntimeError(f"{count} trades came to {counters}")
            return {
                "seconds_from_process_start": round(seconds, 2),
                "trades_per_second": round(count / seconds),
                "writer_cpu_seconds": round(cpu, 1),
                "trades_per_writer_cpu_second": round(count / cpu),
                "writer_peak_rss_mib": round(peak_bytes / 2**20),
            }
        time.sleep(0.2)
    raise RuntimeError("the writer did not drain the topic in 900 s")


def fill(bootstrap: str, count: int) -> None:
    """Two processes, half of the symbols each: encoding in Python is the bottleneck."""
    half = len(SYMBOLS) // 2
    routing = routing_for(TOPIC, RecordKind.TRADES, PARTITIONS, bundled_tiers("crypto"))
    jobs = [
        multiprocessing.get_context("spawn").Process(
            target=_produce, args=(bootstrap, routing.to_json(), symbols, count // 2, seed)
        )
        for seed, symbols in enumerate((SYMBOLS[:half], SYMBOLS[half:]))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        if job.exitcode:
            raise RuntimeError("filling the topic failed")


def _produce(bootstrap: str, routing_text: str, symbols: tuple[str, ...], count: int, seed: int) -> None:
    routing = Routing.from_json(routing_text)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
        }
    )
    places = [(symbol.encode(), routing.partition_of(symbol)) for symbol in symbols]
    for at, value in enumerate(islice(trades(symbols, seed), count)):
        key, partition = places[at % len(places)]
        while True:
            try:
                producer.produce(TOPIC, value, key, partition)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        raise RuntimeError("records were not acknowledged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trades", type=int, default=21_000_000)
    print(json.dumps(run(parser.parse_args().trades), indent=1))


if __name__ == "__main__":
    main()
