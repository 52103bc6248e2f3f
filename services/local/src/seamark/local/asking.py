"""Asks the gateway while everything runs, and keeps each answer for the oracle."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import requests

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS = 0.4
_WINDOW_SECONDS = 20


@dataclass(slots=True)
class Asked:
    """What was asked so far."""

    answers: int = 0
    across: int = 0
    """Answers with rows of the lake and of the stream."""
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    """From request to the answer's last byte."""
    sample: Mapping[str, object] | None = None
    """Header of the newest answer that crossed the seam."""


class Asking:
    """A thread that asks in turn for: everything, one symbol, the last seconds; trades and quotes.

    Each answer goes to `folder`: its rows as Parquet, and a line in answers.jsonl with what was
    asked and what the answer's header said.
    """

    def __init__(self, api_url: str, folder: Path, symbols: Sequence[str]) -> None:
        self._api_url, self._folder, self._symbols = api_url, folder, symbols
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
        self._session = requests.Session()
        self.asked = Asked()

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no question is under way."""
        self._stop.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            table = ("trades", "quotes")[number % 2]
            shape = number // 2 % 3
            parameters: dict[str, str] = {"format": "arrow"}
            if shape == 1 and self._symbols:
                parameters["symbols"] = self._symbols[number // 6 % len(self._symbols)]
            if shape == 2:
                parameters["start"] = str(time.time_ns() // 1000 - _WINDOW_SECONDS * 1_000_000)
            self._ask(f"{time.time_ns()}", table, parameters)
            number += 1
            self._stop.wait(_PAUSE_SECONDS)

    def _ask(self, name: str, table: str, parameters: Mapping[str, str]) -> None:
        began = time.monotonic()
        try:
            answer = self._session.get(
                f"{self._api_url}/v1/{table}", params=parameters, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            self.asked.failures.append(f"{table} {parameters}: {error}")
            return
        self.asked.statuses[answer.status_code] += 1
        if answer.status_code not in (200, 206):
            self.asked.failures.append(f"{table} {parameters}: {answer.status_code} {answer.text[:300]}")
            return
        self.asked.milliseconds.append((time.monotonic() - began) * 1000)
        header = json.loads(answer.headers["Seamark-Answer"])
        rows = pa.ipc.open_stream(answer.content).read_all()
        pq.write_table(rows, self._folder / f"{name}.parquet")
        of_table = header["tables"][table]
        line = {
            "rows": f"{name}.parquet",
            "table": table,
            "symbols": [parameters["symbols"]] if "symbols" in parameters else [],
            "from_us": int(parameters["start"]) if "start" in parameters else None,
            "to_us": None,
            "end": of_table["E"],
            "missing": of_table["missing"],
            "exact": header["exact"],
        }
        with (self._folder / "answers.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        self.asked.answers += 1
        if any(0 < of_table["H"].get(where, 0) < end for where, end in of_table["E"].items()):
            self.asked.across += 1
            self.asked.sample = header
