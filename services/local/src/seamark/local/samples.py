"""Typical questions over HTTP, each shown with a row or two and the key facts of its answer's header.

Knows the API as its users do: by docs/reference/http-api.md. Pure but for the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import requests

_TIMEOUT_SECONDS = 30.0
_MOST_ROWS = 2
_MOST_REASON = 60
_SNAPSHOT_DIGITS = 4  # of 19: enough to see that two differ
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question, and which columns of its answer are shown."""

    path: str
    """Below /v1."""
    columns: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Path and parameters as they stand in the URL."""
        return f"{self.path}?{urlencode(self.parameters, safe=':,')}" if self.parameters else self.path


RECENT = Sample("trades/recent", ("timestamp", "symbol", "side", "price", "quantity"), {"last": "2"})
"""The first question: what is asked then is about its newest trade."""


def samples_about(trade: Mapping[str, Any]) -> list[Sample]:
    """Questions about a trade's symbol and the time up to it, by a row of `RECENT`'s answer.

    The time is the trade's, not the machine's: a recording's may be years ago.
    """
    symbol = trade["symbol"]
    # Whole minutes, the trade's own among them: at most two bars.
    minute = datetime.fromisoformat(trade["timestamp"]).replace(second=0, microsecond=0)
    minutes = {"start": _instant(minute - _MINUTE), "end": _instant(minute + _MINUTE)}
    received = datetime.fromisoformat(trade["ingestion_timestamp"]).replace(microsecond=0)
    seconds = {"start": _instant(received - 10 * _SECOND), "end": _instant(received + _SECOND)}
    bar = ("start", "open", "high", "low", "close", "vwap", "trades", "state")
    as_of = ("timestamp", "price", "quantity", "bid_price", "ask_price")
    instrument = ("exchange", "market", "symbol", "status", "tick_size", "step_size")
    return [
        Sample("bars", bar, {"symbol": symbol, "interval": "1m"} | minutes),
        Sample("aggregate", ("open", "close", "volume", "vwap", "trades"), {"symbol": symbol} | minutes),
        Sample("asof", as_of, {"symbols": symbol} | seconds | {"limit": "2"}),
        Sample("instruments", instrument, {"symbols": symbol}),
        Sample("estimate", ("rows", "bytes", "files", "engine", "cost"), {"table": "quotes"} | minutes),
        Sample("watermark/trades", ()),
    ]


def show_samples(api_url: str, show: Callable[[str], None]) -> list[str]:
    """Asks all of them and shows each with its answer. Returns what was not answered."""
    failures: list[str] = []
    show(f"API={api_url}/v1")
    recent = _asked(api_url, RECENT, show, failures)
    if recent is not None and rows_of(recent):
        for sample in samples_about(rows_of(recent)[0]):
            _asked(api_url, sample, show, failures)
    return failures


def _asked(
    api_url: str, sample: Sample, show: Callable[[str], None], failures: list[str]
) -> Mapping[str, Any] | None:
    """The answer as JSON; None where there is none, and `failures` has one more."""
    try:
        answer = requests.get(f"{api_url}/v1/{sample.target}", timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        failures.append(f"sample question {sample.target}: {error}")
        return None
    if answer.status_code not in (200, 206):
        failures.append(f"sample question {sample.target}: {answer.status_code} {answer.text[:300]}")
        return None
    document: Mapping[str, Any] = answer.json()
    if sample.columns and not rows_of(document):
        failures.append(f"sample question {sample.target}: no row, must have one")
    show("\n".join((f'curl "$API/{sample.target}"', *lines(sample, document))))
    return document


def rows_of(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rows of an answer; one that has none of its own, such as an estimate's, is itself a row."""
    rows = document.get("rows")  # an estimate's is their number
    return rows if isinstance(rows, list) else [document]


def lines(sample: Sample, document: Mapping[str, Any]) -> list[str]:
    """Rows below the names of their columns, and the header's facts where the answer has a header."""
    found = []
    if sample.columns:
        cells = [sample.columns]
        cells += [
            tuple(_text(row[name]) for name in sample.columns) for row in rows_of(document)[:_MOST_ROWS]
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        found += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
    if "header" in document:
        found.append(facts(document))
    return [f"  {line}" for line in found]


def facts(document: Mapping[str, Any]) -> str:
    """Whether it is exact, who read history, its freshness; of each table S (last digits), and H and E summed up."""
    header = document["header"]
    # A watermark is about one table, and has no rows to be exact about.
    tables = header["tables"] if "tables" in header else {document["table"]: header}
    parts = []
    if "exact" in header:
        reason = (header["reason"] or "")[:_MOST_REASON]
        parts.append("exact" if header["exact"] else f"not exact: {reason}")
        parts.append(header["engine"])
    parts.append(f"freshness_ms {header.get('freshness_ms', document.get('freshness_ms'))}")
    return "; ".join([", ".join(parts), *(_table(name, table) for name, table in tables.items())])


def _table(name: str, table: Mapping[str, Any]) -> str:
    snapshot = "none" if table["snapshot"] is None else f"…{str(table['snapshot'])[-_SNAPSHOT_DIGITS:]}"
    return f"{name} S {snapshot} H {sum(table['H'].values())} E {sum(table['E'].values())}"


def _text(value: object) -> str:
    return "-" if value is None else str(value).replace(".000000Z", "Z")


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
