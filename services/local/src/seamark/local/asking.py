"""Asks the gateway while everything runs, and keeps each answer for the oracle."""

from __future__ import annotations

import json
import logging
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import requests

from seamark.local.answers import AnswerFolder

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS = 0.4
_WINDOW_SECONDS = 20
_MOST_FAILURES = 3


@dataclass(slots=True)
class Asked:
    """What was asked so far."""

    answers: int = 0
    across: int = 0
    """Answers with rows of the lake and of the stream."""
    by_trino: int = 0
    """Of these: those whose history Trino read."""
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    """From request to the answer's last byte."""
    sample: Mapping[str, Any] | None = None
    """Header of the newest answer that crossed the seam, with Trino where it had a part in one."""

    def note(self, table: str, header: Mapping[str, Any], milliseconds: float) -> None:
        """Count an answer about `table` by what its header says."""
        self.answers += 1
        self.milliseconds.append(milliseconds)
        of_table = header["tables"][table]
        if any(0 < of_table["H"].get(where, 0) < end for where, end in of_table["E"].items()):
            # Without files that may match nobody was asked, whatever engine was meant.
            by_trino = header["engine"] == "trino" and header["estimate"]["files"] > 0
            self.across += 1
            self.by_trino += by_trino
            if by_trino or not self.by_trino:
                self.sample = header

    def summary(self, trino: bool) -> str:
        """What people get to read. `trino`: it was there to be asked."""
        if not self.answers:
            return "no question was answered while it ran"
        through = f" (Trino read the history of {self.by_trino})" if trino else ""
        return (
            f"{self.answers} questions answered while it ran, {self.across} of them from lake and stream "
            f"together{through}, half of them within {statistics.median(self.milliseconds):.0f} ms"
        )

    def problems(self, trino: bool) -> list[str]:
        """What is off. `trino`: it was there to be asked."""
        found = [f"a question was not answered: {failure}" for failure in self.failures[:_MOST_FAILURES]]
        if not self.answers:
            found.append("no question was answered while it ran")
        elif trino and not self.by_trino:
            found.append("no answer from lake and stream together has a history that Trino read")
        return found


def question(
    number: int, symbols: Sequence[str], engines: Sequence[str], now_us: int
) -> tuple[str, dict[str, str]]:
    """Table and parameters of question `number`, counted from 0.

    In turn: everything, one symbol, the last seconds; trades and quotes; each by each of
    `engines`, or by cost where none is named.
    """
    turn, engine = divmod(number, max(1, len(engines)))
    parameters = {"format": "arrow"}
    if engines:
        parameters["engine"] = engines[engine]
    shape = turn // 2 % 3
    if shape == 1 and symbols:
        parameters["symbols"] = symbols[turn // 6 % len(symbols)]
    if shape == 2:
        parameters["start"] = str(now_us - _WINDOW_SECONDS * 1_000_000)
    return ("trades", "quotes")[turn % 2], parameters


def header_of(rows: pa.Table) -> dict[str, Any]:
    """The whole header of an answer in Arrow, from its schema. The HTTP line of it is cut short where it is long:
    many partitions, and its vectors are not there."""
    header: dict[str, Any] = json.loads(rows.schema.metadata[b"seamark.header"])
    return header


class Asking:
    """A thread that asks one `question` after another.

    Each answer goes to `folder`, as `AnswerFolder` keeps them.
    """

    def __init__(
        self, api_url: str, folder: Path, symbols: Sequence[str], engines: Sequence[str] = ()
    ) -> None:
        self._api_url, self._symbols, self._engines = api_url, symbols, engines
        self._kept = AnswerFolder(folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
        self._session = requests.Session()
        self.asked = Asked()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no question is under way."""
        self._stop.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            table, parameters = question(number, self._symbols, self._engines, time.time_ns() // 1000)
            self._ask(table, parameters)
            number += 1
            self._stop.wait(_PAUSE_SECONDS)

    def _ask(self, table: str, parameters: Mapping[str, str]) -> None:
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
        milliseconds = (time.monotonic() - began) * 1000
        rows = pa.ipc.open_stream(answer.content).read_all()
        header = header_of(rows)
        self._kept.keep(
            table,
            rows,
            header,
            symbols=[parameters["symbols"]] if "symbols" in parameters else [],
            from_us=int(parameters["start"]) if "start" in parameters else None,
        )
        self.asked.note(table, header, milliseconds)
