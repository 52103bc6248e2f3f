"""docs/benchmarks.md from the JSON of the last runs. Latencies, with p50 and p99, stand beside their bars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

_TITLES = {
    "writer_throughput": (
        "Kafka to Iceberg, one writer process",
        "A filled topic, drained by one writer into sorted zstd Parquet on the real broker and catalog.",
    ),
    "commit_time": (
        "Time of a small commit",
        "A thousand commits of a thousand trades each, one after the other.",
    ),
    "decode_fold": ("Decode and fold, one block", "In memory, one thread; nanoseconds a record."),
    "leg_encode": (
        "Leg: frame to Kafka's acknowledgement",
        "Frames made beforehand, through decoder, encoder and producer; microseconds of CPU a frame.",
    ),
    "tail": (
        "Tail-cache alone",
        "Asked by gRPC, no writer runs. Records come at 20,000 a second for the last figures.",
    ),
    "direct": (
        "Direct reader alone",
        "Files as load profile L writes them, read in one process: no tail, no merge, no HTTP.",
    ),
    "question_cost": (
        "What a question costs",
        "CPU of gateway and tail for one question, by itself (`alone`: no feed, a tail of 400,000 trades) and under "
        "load profile L; `cores_unasked`: what each process uses before it is asked.",
    ),
    "load_profile": (
        "The read side under load",
        "Load profile L: two legs with 5,000 trades and 5,000 quotes a second together, a writer that commits each "
        "60 s, tail and gateway, all on this machine, the venue and the client as well. Requests are made "
        "at their time, answered or not; a latency runs from that time to the last byte over HTTP. `1_client` asks "
        "at a fixed spacing, `20_clients` at random times, as often as `per_second` says. "
        "`tail_alone`: share of answers without a data file. `client_latest_ms`: the most that the client itself was late.",
    ),
    "crossover": (
        "Trino beside the direct reader",
        "Bytes are compressed bytes of the columns asked for. `rows`: all of one symbol; `sifted`: all symbols are read "
        "for a few rows. `crossover`: from where on Trino answers sooner. Hybrid answers are under load profile L.",
    ),
}
"""In the order of the document: what is measured, and how to read it."""
_BARS_MS: Mapping[tuple[str, str], tuple[float, float | None]] = {
    ("commit_time", "commit_ms"): (250, None),
    ("tail", "append_to_queryable_ms"): (10, 50),
    ("load_profile", "append_to_queryable"): (10, 50),
    ("load_profile", "tail_1000_rows"): (5, 25),
    ("load_profile", "hybrid_15_minutes"): (60, 150),
    ("load_profile", "history_1000_rows"): (50, 200),
    ("load_profile", "bars_of_a_day"): (200, None),
    ("load_profile", "mix"): (100, 500),
    ("crossover", "hybrid_over_trino_alone"): (30, None),
}
"""By how a figure's name begins: the most that p50 and p99 may be."""


def write_report(results: Path, document: Path) -> None:
    """Rewrite `document` from every result there is."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` from `bench/results/*.json`; do not edit. All engines run on the same machine as",
        "what is measured. Machines are noisy: compare figures of one run only.",
    ]
    for name, (title, says) in _TITLES.items():
        file = results / f"{name}.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        machine = result["machine"]
        lines += [
            "",
            f"## {title}",
            "",
            f"`python -m bench {name}`, {result['measured']}, {machine['cores']} cores ({machine['cpu']}), "
            f"{machine['memory_gib']} GiB, Python {machine['python']}.",
            says,
        ]
        lines += _tables(name, result["figures"])
    document.write_text("\n".join(lines) + "\n")


def _tables(benchmark: str, figures: Mapping[str, object]) -> list[str]:
    """Latencies as one table, everything else as another."""
    latencies = {name: value for name, value in figures.items() if isinstance(value, dict) and "p50" in value}
    lines = []
    if latencies:
        lines += ["", "| ms | p50 | p99 | bar | |", "|---|---|---|---|---|"]
        lines += [_latency(benchmark, name, value) for name, value in latencies.items()]
    rest = {name: value for name, value in figures.items() if name not in latencies}
    if rest:
        lines += ["", "| figure | value |", "|---|---|"]
        lines += [f"| {figure} | {_shown(value)} |" for figure, value in rest.items()]
    return lines


def _latency(benchmark: str, name: str, value: Mapping[str, object]) -> str:
    bars = next(
        (
            bars
            for (where, begins), bars in _BARS_MS.items()
            if where == benchmark and name.startswith(begins)
        ),
        None,
    )
    bar = "–" if bars is None else " / ".join(f"{one:g}" for one in bars if one is not None)
    others = {part: found for part, found in value.items() if part not in ("p50", "p99")}
    p99 = _shown(value["p99"]) if "p99" in value else "–"
    return f"| {name.removesuffix('_ms')} | {_shown(value['p50'])} | {p99} | {bar} | {_shown(others)} |"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
