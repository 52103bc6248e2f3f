"""What a table must hold, from the log alone: the rules of first occurrence, written once more.

Imports nothing from seamark. Dictionaries and sets, record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Sent(NamedTuple):
    """A record as the test appended it. `symbol` None: bytes that no reader can decode."""

    symbol: str | None
    number: int
    time_us: int
    append_us: int


class Row(NamedTuple):
    """What of a row the reference judges."""

    stream: int
    partition: int
    offset: int
    symbol: str
    number: int
    epoch: int
    append_us: int


@dataclass
class Reference:
    """Folds one key after another. Feed the streams of a chain oldest first."""

    quotes: bool
    _epochs: dict[str, list[tuple[float, set[int]]]] = field(default_factory=dict)
    _greatest: dict[str, float] = field(default_factory=dict)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)

    def rows(
        self, stream: int, partition: int, records: Iterable[tuple[int, Sent]]
    ) -> tuple[list[Row], Mapping[str, int]]:
        """(rows, counts) of consecutive (offset, record) of one partition."""
        rows = []
        counts = {"written": 0, "duplicate": 0, "dlq": 0}
        append_us = 0
        for offset, record in records:
            append_us = max(append_us, record.append_us)
            if record.symbol is None:
                counts["dlq"] += 1
                continue
            epoch = self._quote(record) if self.quotes else self._trade(record)
            if epoch is None:
                counts["duplicate"] += 1
                continue
            counts["written"] += 1
            rows.append(Row(stream, partition, offset, record.symbol, record.number, epoch, append_us))
        return rows, counts

    def _trade(self, record: Sent) -> int | None:
        assert record.symbol is not None
        epochs = self._epochs.setdefault(record.symbol, [(float("-inf"), set())])
        greatest = self._greatest.get(record.symbol, float("-inf"))
        at = max(i for i, (opened, _) in enumerate(epochs) if opened <= record.time_us)
        if record.number in epochs[at][1]:
            if at != len(epochs) - 1 or record.time_us <= greatest:
                return None
            epochs.append((record.time_us, set()))
            at += 1
        epochs[at][1].add(record.number)
        self._greatest[record.symbol] = max(greatest, record.time_us)
        return at

    def _quote(self, record: Sent) -> int | None:
        assert record.symbol is not None
        epoch, last = self._last.get(record.symbol, (0, -1))
        greatest = self._greatest.get(record.symbol, float("-inf"))
        if record.number <= last:
            if record.time_us <= greatest + 60_000_000:
                return None
            epoch += 1
        self._last[record.symbol] = (epoch, record.number)
        self._greatest[record.symbol] = max(greatest, record.time_us)
        return epoch
