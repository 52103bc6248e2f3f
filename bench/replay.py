"""How fast a gateway gives rows as Arrow, by the CPU that it takes itself."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import pyarrow as pa

from bench.load import Load
from bench.load_questions import SIX

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 300.0


def replay(running: Load, parameters: Mapping[str, str], times: int) -> dict[str, object]:
    """Six columns of trades, asked `times` times one after the other. Raises RuntimeError for no rows."""
    query = urlencode({"fields": SIX, "format": "arrow", "timeout_seconds": "300", **parameters})
    rows, _ = _asked(running, query, count=True)
    if not rows:
        raise RuntimeError(f"there are no trades of {query}")
    before, began = running.cpu_seconds(), time.perf_counter()
    for _ in range(times):
        _asked(running, query, count=False)
    seconds, after = time.perf_counter() - began, running.cpu_seconds()
    cpu = {name: after[name] - before[name] for name in ("gateway", "tail")}
    return {
        "rows": rows,
        "rows_per_second": round(rows * times / seconds),
        "rows_per_gateway_cpu_second": round(rows * times / cpu["gateway"]),
        "tail_cpu_seconds_per_million": round(cpu["tail"] / rows / times * 1e6, 2),
    }


def _asked(running: Load, query: str, count: bool) -> tuple[int, int]:
    """(rows, bytes); rows only where they are counted."""
    address = urlsplit(running.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/v1/trades?{query}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{query} was answered with {answer.status}: {answer.read(2_000)!r}")
        if count:
            with pa.ipc.open_stream(answer) as stream:
                return sum(batch.num_rows for batch in stream), 0
        size = 0
        while piece := answer.read(_CHUNK_BYTES):
            size += len(piece)
        return 0, size
    finally:
        connection.close()
