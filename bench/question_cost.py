"""CPU of gateway and tail for one question, with nothing else running and under load profile L.

Alone the tail holds a filled topic that nobody commits, so that its rows are the same each time.

What a latency is made of: beyond its CPU, a question waits for cores that others hold. One question after
another at a fixed spacing; from the CPU of a process is taken what it uses unasked.

    python -m bench.question_cost
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from bench import load_questions
from bench.asking import WARM_UP, Ask, ask
from bench.load import FLUSH_SECONDS, Load, load, wait_for, write_history
from bench.load_profile import HISTORY
from bench.trades import START_US
from bench.writer_throughput import fill

_UNASKED_SECONDS = 15.0
_FILLED = 400_000
_IDLE_CORES = 0.05
_QUESTIONS: tuple[tuple[str, list[Ask], float], ...] = (
    ("watermark", [Ask("/v1/watermark/trades", {})] * 60, 6.0),
    ("history_1000_rows", load_questions.history(60), 6.0),
    ("hybrid_15_minutes", load_questions.hybrid(60), 3.0),
    ("bars_of_a_day", load_questions.bars_of_a_day(40), 2.0),
)
"""Name, requests, and how many a second."""


def run() -> dict[str, object]:
    """Figures by name of the question; milliseconds."""
    with load() as running:
        write_history(running.real, *HISTORY)
        fill(running.real.kafka.bootstrap, _FILLED)
        running.start("tail", "gateway")
        wait_for(lambda: running.watermark("trades")[1] >= _FILLED, "the tail did not hold the filled topic")
        # A gateway that begins makes bars of the last hour ahead.
        wait_for(lambda: _cores(running)["gateway"] < _IDLE_CORES, "the gateway did not come to rest")
        alone = _costs(running, "alone", _filled_rows)
        running.start("writer", "venue", "leg0", "leg1")
        time.sleep(FLUSH_SECONDS + 15)
        return alone | _costs(running, "under_load", load_questions.tail_rows)


def _filled_rows(count: int, form: str) -> list[Ask]:
    """As `load_questions.tail_rows`, of the filled topic: years ago by the clock, the newest of the log."""
    of_the_tail = load_questions.tail_rows(1, form)[0].parameters
    times = {"start": str(START_US), "end": str(START_US + 10**12)}
    page = {name: of_the_tail[name] for name in ("symbols", "fields", "format")}
    return [Ask("/v1/trades", page | times | {"order": "desc", "limit": of_the_tail["last"]})] * count


def _costs(running: Load, when: str, tail_rows: Callable[[int, str], list[Ask]]) -> dict[str, object]:
    tail = [(f"tail_1000_rows_{form}", tail_rows(60, form), 6.0) for form in ("json", "arrow")]
    unasked = _cores(running)
    rounded = {name: round(cores, 2) for name, cores in unasked.items()}
    costs: dict[str, object] = {f"{when}_cores_unasked": rounded}
    for name, asks, per_second in (*_QUESTIONS, *tail):
        cpu, began = running.cpu_seconds(), time.monotonic()
        told = ask(running.url, asks, per_second, "fixed")
        seconds, after = time.monotonic() - began, running.cpu_seconds()
        if told.failures:
            raise RuntimeError(f"{name}: {told.failures[0]}")
        questions = len(asks) + min(len(asks), WARM_UP)
        costs[f"{when}_{name}_ms"] = {
            "p50": round(float(np.median(told.milliseconds)), 1),
            **{
                f"{process}_cpu_ms": round(
                    (after[process] - cpu[process] - unasked[process] * seconds) / questions * 1e3, 1
                )
                for process in ("gateway", "tail")
            },
        }
    return costs


def _cores(running: Load) -> dict[str, float]:
    cpu = running.cpu_seconds()
    time.sleep(_UNASKED_SECONDS)
    return {name: (after - cpu[name]) / _UNASKED_SECONDS for name, after in running.cpu_seconds().items()}


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
