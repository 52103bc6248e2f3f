"""Keeps answers as the oracle reads them: rows as Parquet, and a line for each of what was asked and said."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class AnswerFolder:
    """A folder of answers for `seamark_oracle.judge`. `keep` may be called by several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._count = len([*folder.glob("*.parquet")])

    def keep(
        self,
        table: str,
        rows: pa.Table,
        header: Mapping[str, Any],
        symbols: Sequence[str] = (),
        from_us: int | None = None,
        to_us: int | None = None,
    ) -> None:
        """Keep one whole answer.

        Args:
            table: what was asked about.
            rows: all of its rows in ascending order, with all columns of the table.
            header: the answer's, as its JSON.
            symbols: those that were asked for; none: all.
            from_us: of the venue's time, in microseconds; None: from the first on.
            to_us: the end, exclusive; None: to the last.
        """
        with self._lock:
            self._count += 1
            name = f"{self._count:06}.parquet"
        pq.write_table(rows, self.folder / name)
        of_table = header["tables"][table]
        line = {
            "rows": name,
            "table": table,
            "symbols": [*symbols],
            "from_us": from_us,
            "to_us": to_us,
            "end": of_table["E"],
            "missing": of_table["missing"],
            "exact": header["exact"],
        }
        with self._lock, (self.folder / "answers.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")
