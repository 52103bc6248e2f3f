"""`make bench`: every measurement in turn, nothing else running; figures to bench/results and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    commit_time,
    crossover,
    decode_fold,
    direct,
    leg_encode,
    load_profile,
    question_cost,
    tail,
    writer_throughput,
)
from bench.engines import engines, machine_facts
from bench.report import write_report

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def _leg() -> dict[str, object]:
    with engines() as real:
        return leg_encode.run(bootstrap=real.kafka.bootstrap)


BENCHMARKS: dict[str, Callable[[], dict[str, object]]] = {
    "decode_fold": decode_fold.run,
    "leg_encode": _leg,
    "commit_time": commit_time.run,
    "writer_throughput": writer_throughput.run,
    "tail": tail.run,
    "direct": direct.run,
    "question_cost": question_cost.run,
    "load_profile": load_profile.run,
    "crossover": crossover.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all if none is named")
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"benchmark was {name!r}, must be one of {', '.join(BENCHMARKS)}")
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        print(f"{name} …", flush=True)
        result = {
            "benchmark": name,
            "measured": datetime.now(UTC).date().isoformat(),
            "machine": machine_facts(),
            "figures": BENCHMARKS[name](),
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result["figures"], indent=1), flush=True)
    write_report(RESULTS, DOCUMENT)
    print(f"written: {DOCUMENT.name}")


if __name__ == "__main__":
    main()
