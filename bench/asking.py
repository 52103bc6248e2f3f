"""A client in a process of its own: questions over HTTP at their times, whether or not the last is answered.

Reads a plan as JSON from standard input and writes what came of it to standard output. A latency
runs from the time a request was due, not from when it was sent, to its last byte: a client that
waits for a slow server does not hide it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import numpy as np
import uvloop

_TIMEOUT_SECONDS = 30.0
WARM_UP = 20
"""Requests before the clock runs: connections, caches."""
_LATE_SECONDS = 1.0
"""Before the first request is due: the client has to get ready."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. `start` and `end` are put in by the client, as so many seconds before it asks."""

    path: str
    parameters: dict[str, str]
    start_ago_seconds: float | None = None
    end_ago_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one plan."""

    milliseconds: list[float]
    """Of each request that was answered."""
    failures: list[str]
    bytes: int
    history_files: list[int]
    """Data files that each answer's history had; 0: the answer came of the tail alone."""
    inexact: int
    seconds: float
    """From the first request's time to the last answer."""
    cpu_seconds: float
    """Of the client."""
    latest_ms: float
    """The most that a request was sent after its time: the client's own fault."""


def ask(url: str, asks: list[Ask], per_second: float, spacing: str, seed: int = 1) -> Told:
    """Ask all of them in turn, in another process. `spacing`: fixed or poisson."""
    plan = {
        "url": url,
        "asks": [asdict(one) for one in asks],
        "per_second": per_second,
        "spacing": spacing,
        "seed": seed,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.asking"],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the client ended with {done.returncode}: {done.stderr[-2_000:]}")
    return Told(**json.loads(done.stdout))


async def _asked(plan: dict[str, Any]) -> Told:
    asks = [Ask(**one) for one in plan["asks"]]
    milliseconds: list[float] = []
    failures: list[str] = []
    headers: list[str] = []
    total_bytes, latest, inexact = 0, 0.0, 0
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=120)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(plan["url"], connector=connector, timeout=timeout) as session:

        async def one(ask: Ask, due: float, counts: bool) -> None:
            nonlocal total_bytes, latest, inexact
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if counts:
                latest = max(latest, time.perf_counter() - due)
            parameters = dict(ask.parameters)
            now_us = time.time_ns() // 1_000
            for name, ago in (("start", ask.start_ago_seconds), ("end", ask.end_ago_seconds)):
                if ago is not None:
                    parameters[name] = str(now_us - round(ago * 1e6))
            try:
                async with session.get(ask.path, params=parameters) as answer:
                    body = await answer.read()
            except (TimeoutError, aiohttp.ClientError) as error:
                failures.append(f"{ask.path} {parameters}: {error!r}")
                return
            if answer.status not in (200, 206):
                failures.append(f"{ask.path} {parameters}: {answer.status} {body[:300]!r}")
            elif counts:
                milliseconds.append((time.perf_counter() - due) * 1e3)
                total_bytes += len(body)
                inexact += answer.headers.get("Seamark-Exact") == "false"
                headers.append(answer.headers.get("Seamark-Answer", "{}"))

        for ask in asks[:WARM_UP]:
            await one(ask, 0.0, False)
        failures.clear()
        gaps = np.full(len(asks), 1 / plan["per_second"])
        if plan["spacing"] == "poisson":
            gaps = np.random.default_rng(plan["seed"]).exponential(1 / plan["per_second"], len(asks))
        gc.freeze()
        first = time.perf_counter() + _LATE_SECONDS
        dues = (first + np.cumsum(gaps)).tolist()
        cpu = time.process_time()
        await asyncio.gather(*(one(ask, due, True) for ask, due in zip(asks, dues, strict=True)))
        seconds, cpu = time.perf_counter() - first, time.process_time() - cpu
    estimates = [json.loads(header).get("estimate") or {} for header in headers]
    files = [estimate["files"] for estimate in estimates if "files" in estimate]
    return Told(milliseconds, failures, total_bytes, files, inexact, seconds, cpu, latest * 1e3)


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(_asked(json.load(sys.stdin)))), sys.stdout)
