"""The HTTP edge over the twin, on a loopback port of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
from prometheus_client import CollectorRegistry
from uvicorn import Server

from seamark.query_gateway.access import Access
from seamark.query_gateway.answers import AnswerLimits, Answers
from seamark.query_gateway.audit import Audit
from seamark.query_gateway.auth import Keys
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.app import create_app
from seamark.query_gateway.http.server import http_server
from seamark.query_gateway.quotas import Quotas
from seamark.query_gateway.running import Registry
from seamark.telemetry.metrics import GatewayMetrics
from twins.gateway import MemoryGateway

T = TypeVar("T")
BODY_BYTES = 64 * 1024
NOW_US = 1_723_161_300_000_000
LIMITS = AnswerLimits(
    page_rows=100_000,
    default_rows=1_000,
    export_rows=5_000_000,
    join_rows=1_000_000,
    write_timeout_seconds=1.0,
    timeout_seconds=10.0,
    most_timeout_seconds=60.0,
)


@dataclass(slots=True, eq=False)
class Served:
    """A running edge. Its parts live on `loop`; `run` works on them there."""

    url: str
    gateway: MemoryGateway
    access: Access
    metrics: CollectorRegistry
    audit_file: Path
    loop: asyncio.AbstractEventLoop
    server: Server

    def get(self, path: str, **parameters: Any) -> requests.Response:
        headers = parameters.pop("headers", None)
        return requests.get(self.url + path, params=parameters, headers=headers, timeout=20)

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=headers, timeout=20)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, work: Callable[[], T]) -> T:
        """`work` on the loop's thread."""

        async def called() -> T:
            return work()

        return self.run(called())

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.get_sample_value(name, labels) or 0.0

    def audited(self, **fields: object) -> dict[str, Any]:
        """The first audit line with these values; waits for it."""

        def found() -> dict[str, Any] | None:
            for line in self.audit_file.read_text().splitlines():
                entry: dict[str, Any] = json.loads(line)
                if all(entry.get(name) == value for name, value in fields.items()):
                    return entry
            return None

        return until(found)


def until(condition: Callable[[], T | None], seconds: float = 10.0) -> T:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return found


@contextmanager
def served(
    folder: Path,
    gateway: Answers,
    keys: Keys | None = None,
    limits: AnswerLimits = LIMITS,
    audit_lines: int = 10_000,
    body_bytes: int = BODY_BYTES,
    most_beginning: int = 0,
) -> Iterator[Served]:
    """An edge that answers from `gateway` while the block runs."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    audit_file = folder / "audit.jsonl"
    audit = Audit(audit_file, metrics.audit_dropped, audit_lines)
    access = Access(keys, Quotas(most_beginning=most_beginning), Registry(), audit, metrics)
    api = Api(gateway, access, limits, now_us=lambda: NOW_US)
    server = http_server(create_app(api, registry, body_bytes), drain_seconds=1)
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        host, port = listener.getsockname()
        assert isinstance(gateway, MemoryGateway)
        yield Served(f"http://{host}:{port}", gateway, access, registry, audit_file, loop, server)
    finally:
        server.should_exit = True
        thread.join(20)
        audit.close()
        listener.close()
        loop.close()
