"""docs/benchmarks.md from the JSON of the last runs."""

from __future__ import annotations

import json
from pathlib import Path

_TITLES = {
    "writer_throughput": "Kafka to Iceberg, one writer process",
    "commit_time": "Time of a small commit",
    "decode_fold": "Decode and fold, one block",
    "leg_encode": "Leg: frame to Kafka's acknowledgement",
}


def write_report(results: Path, document: Path) -> None:
    """Rewrite `document` from every result there is."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` from `bench/results/*.json`; do not edit. All engines run on the same machine as",
        "what is measured. Machines are noisy: compare figures of one run only.",
    ]
    for name, title in _TITLES.items():
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
            "",
            "| figure | value |",
            "|---|---|",
        ]
        lines += [f"| {figure} | {_shown(value)} |" for figure, value in result["figures"].items()]
    document.write_text("\n".join(lines) + "\n")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
