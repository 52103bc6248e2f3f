"""The read side under load profile L: 5,000 trades and 5,000 quotes a second, and questions beside them.

Before the load: replay as Arrow, from the tail while no writer runs, then from the lake. Then venue,
two legs, writer, tail and gateway run, and each row is asked by one client at a fixed spacing and by
twenty at random times; a latency runs from the time that a request was due. What the machine could
not do is seen in the figures: rates reached, requests sent late, CPU of each process.

    python -m bench.load_profile [--requests N] [--trades N]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from bench import load_questions
from bench.asking import Ask, Told, ask
from bench.lake_rows import SYMBOLS
from bench.load import FLUSH_SECONDS, Load, Samples, load, wait_for, write_history
from bench.replay import replay
from bench.tail import quantile
from bench.trades import START_US as FILLED_FROM_US
from bench.writer_throughput import fill

CLIENTS = 20
_A_SECOND = {"tail": 15.0, "hybrid": 5.0, "history": 10.0, "bars": 3.0, "mix": 10.0}
"""What is asked, by one client or by twenty together. Of two cores the load leaves half of one for it: what is asked
faster than it can be answered has a latency that says how long the overload lasted (`failed`, `cores_used`)."""
HISTORY = (23, 200_000, 30, 300_000)
"""Hours and rows of each, then minutes and rows of each."""
_FILLED_YEAR = {"start": str(FILLED_FROM_US - 10**12), "end": str(FILLED_FROM_US + 10**13)}


def run(requests: int = 1_000, trades: int = 3_000_000) -> dict[str, object]:
    """Figures; milliseconds as p50, p99. `trades`: how many the tail replays.

    Raises RuntimeError if a part of the load does not run.
    """
    with load() as running:
        history_end_us = write_history(running.real, *HISTORY)
        fill(running.real.kafka.bootstrap, trades)
        running.start("tail", "gateway")
        wait_for(lambda: running.watermark("trades")[1] >= trades, "the tail did not hold the filled topic")
        figures: dict[str, object] = {
            "history_rows": HISTORY[0] * HISTORY[1] + HISTORY[2] * HISTORY[3],
            **_replays(running, trades, history_end_us),
        }
        running.start("writer")
        wait_for(
            lambda: running.watermark("trades")[0] >= trades, "the writer did not commit the filled topic"
        )
        running.start("venue", "leg0", "leg1")
        time.sleep(FLUSH_SECONDS + 15)  # until both tables have a first commit of it
        return figures | _measured(running, requests)


def _replays(running: Load, trades: int, history_end_us: int) -> dict[str, object]:
    one = {"symbols": SYMBOLS[0]}
    lake = {"start": str(history_end_us - 10 * 60 * 10**6), "end": str(history_end_us)}
    return {
        "replay_tail_one_symbol": replay(running, _FILLED_YEAR | one, 8),
        "replay_tail_all_in_order": replay(running, _FILLED_YEAR, 2),
        "replay_history_one_symbol": replay(
            running, {"end": lake["end"], "start": "2020-01-01T00:00:00Z"} | one, 4
        ),
        "replay_history_all_in_order": replay(running, lake, 2),
    }


def _measured(running: Load, requests: int) -> dict[str, object]:
    began, sent = time.monotonic(), running.venue_status()
    cpu, samples = running.cpu_seconds(), running.samples("tail")
    figures: dict[str, object] = {}
    clients: list[Told] = []

    def row(name: str, asks: list[Ask], rate: float) -> None:
        for label, spacing in (("1_client", "fixed"), (f"{CLIENTS}_clients", "poisson")):
            told = ask(running.url, asks, rate, spacing)
            clients.append(told)
            figures[f"{name}_{label}_ms"] = latencies(told)

    row("tail_1000_rows_json", load_questions.tail_rows(requests, "json"), _A_SECOND["tail"])
    row("tail_1000_rows_arrow", load_questions.tail_rows(requests, "arrow"), _A_SECOND["tail"])
    row("hybrid_15_minutes", load_questions.hybrid(requests), _A_SECOND["hybrid"])
    row("history_1000_rows", load_questions.history(requests), _A_SECOND["history"])
    told = ask(running.url, load_questions.mix(requests), _A_SECOND["mix"], "poisson")
    clients.append(told)
    figures[f"mix_{CLIENTS}_clients_ms"] = latencies(told)
    row("bars_of_a_day", load_questions.bars_of_a_day(requests), _A_SECOND["bars"])
    seconds = time.monotonic() - began
    used = {name: after - cpu[name] for name, after in running.cpu_seconds().items()}
    used["client"] = sum(each.cpu_seconds for each in clients)
    return {
        **_fresh(samples, running.samples("tail")),
        **figures,
        **_rates(running, sent, seconds),
        "cores_used": {name: round(each / seconds, 2) for name, each in used.items()},
        "client_latest_ms": round(max(each.latest_ms for each in clients), 1),
        "tail_rss_mib": running.rss_mib("tail"),
        "gateway_rss_mib": running.rss_mib("gateway"),
        "commit_median_seconds": round(float(np.median(running.commits())), 3),
    }


def latencies(told: Told) -> dict[str, object]:
    """A row: percentiles, and what they are of."""
    if not told.milliseconds:
        raise RuntimeError(f"no request was answered: {told.failures[:3]}")
    return {
        "p50": round(float(np.percentile(told.milliseconds, 50)), 1),
        "p99": round(float(np.percentile(told.milliseconds, 99)), 1),
        "requests": len(told.milliseconds),
        "failed": len(told.failures),
        "per_second": round(len(told.milliseconds) / told.seconds, 1),
        "kib": round(told.bytes / len(told.milliseconds) / 1024),
        "tail_alone": round(told.history_files.count(0) / max(1, len(told.history_files)), 2),
        "inexact": told.inexact,
    }


def _fresh(before: Samples, after: Samples) -> dict[str, object]:
    """From append to queryable, over everything that was measured."""
    found: dict[str, object] = {}
    name = "seamark_tail_append_to_queryable_seconds_bucket"
    for table in ("trades", "quotes"):
        counts = {
            float(dict(labels)["le"]): value - before.get((sample, labels), 0.0)
            for (sample, labels), value in after.items()
            if sample == name and dict(labels)["table"] == table
        }
        found[f"append_to_queryable_{table}_ms"] = {
            "p50": quantile(counts, 0.5),
            "p99": quantile(counts, 0.99),
            "batches": round(counts[float("inf")]),
        }
    return found


def _rates(running: Load, before: dict[str, float], seconds: float) -> dict[str, object]:
    after = running.venue_status()
    return {
        "measured_seconds": round(seconds),
        "trades_per_second": round((after["trades"] - before["trades"]) / seconds),
        "quotes_per_second": round((after["quotes"] - before["quotes"]) / seconds),
        "venue_latest_ms": round(after["behind_seconds"] * 1e3, 1),
        "venue_unsent_bytes": after["unsent_bytes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="of each row")
    parser.add_argument("--trades", type=int, default=3_000_000, help="that the tail replays")
    given = parser.parse_args()
    print(json.dumps(run(given.requests, given.trades), indent=1))


if __name__ == "__main__":
    main()
