"""How long a small commit takes over many commits: flat, or growing with the table's history.

Batches of 1,000 trades go through the writer's own `TableWriter` (sort, upload, state file, one
commit request) against the real REST catalog. Snapshots may expire at any age here: the
thousand commits come within minutes, and the default keeps every snapshot for fifteen.

    python -m bench.commit_time [--commits N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
from pyiceberg.catalog import load_catalog

from bench.engines import engines
from bench.trades import TOPIC, trades
from seamark.consumer_writer.dead_letters import KafkaDeadLetters
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.table_writer import Attempt, TableWriter
from seamark.lake.iceberg import IcebergTable
from seamark.lake.states import ObjectStateStore
from seamark.market.schema import RecordKind
from seamark.stream.cluster import KafkaCluster
from seamark.stream.decode import Decoder
from seamark.stream.log import Run, TopicPartition

ROWS = 1_000


def run(commits: int = 1_000) -> dict[str, object]:
    """Milliseconds of a commit: median and 99th percentile, of all and of each tenth."""
    with engines() as real:
        environment = real.writer_environment(PARTITIONS=1)
        init = [sys.executable, "-m", "seamark.consumer_writer", "init"]
        subprocess.run(init, env=environment, check=True, capture_output=True)
        properties = real.catalog.properties()
        writer = TableWriter(
            RecordKind.TRADES,
            IcebergTable(load_catalog("lake", **properties), "market", RecordKind.TRADES.value),
            ObjectStateStore(real.catalog.state_uri, properties),
            KafkaCluster(real.kafka.bootstrap),
            Decoder(RecordKind.TRADES),
            KafkaDeadLetters(real.kafka.bootstrap),
            "bench",
            ExpiryPolicy(min_age_seconds=0.0),
        )
        where = TopicPartition(TOPIC, 0)
        writer.assign([where])
        source = trades(("BTCUSDT", "ETHUSDT"), seed=1)
        milliseconds = []
        for number in range(commits):
            values = [next(source) for _ in range(ROWS)]
            first = number * ROWS
            offsets = np.arange(first, first + ROWS, dtype=np.int64)
            writer.observe([Run(where, offsets, offsets, 0, values, [None] * ROWS)])
            batch = writer.seal()
            assert batch is not None  # a thousand new trades were observed
            began = time.perf_counter()
            attempt = writer.prepare(batch, time.time_ns() // 1_000_000)
            if not isinstance(attempt, Attempt):
                raise RuntimeError(f"commit {number} met {attempt}")
            writer.send(attempt)
            milliseconds.append((time.perf_counter() - began) * 1e3)
        tenth = max(1, commits // 10)
        return {
            "commits": commits,
            "rows_per_commit": ROWS,
            "p50_ms": round(statistics.median(milliseconds), 1),
            "p99_ms": round(float(np.percentile(milliseconds, 99)), 1),
            "p50_ms_by_tenth": [
                round(statistics.median(milliseconds[at : at + tenth]), 1) for at in range(0, commits, tenth)
            ],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1_000)
    print(json.dumps(run(parser.parse_args().commits), indent=1))


if __name__ == "__main__":
    main()
