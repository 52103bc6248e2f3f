"""Load profile L, running: engines, history, venue, two legs, writer, tail and gateway, each a process.

Nothing here measures. Parts are started one by one, because some figures are taken before others run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from pyiceberg.catalog import load_catalog

from bench.engines import Engines, cpu_seconds, engines
from bench.lake_rows import MINUTE_US, SYMBOLS, LakeRows
from seamark.lake.checkpoint import SUMMARY, to_summary
from seamark.lake.iceberg import IcebergTable
from seamark.lake.view import Change
from seamark.local.engines import TrinoServer
from seamark.local.engines.ports import LOOPBACK, kept_ports
from seamark.local.engines.process import SupervisedProcess
from seamark.market.schema import RecordKind

TRADES_PER_SECOND = 5_000
QUOTES_PER_SECOND = 5_000
FLUSH_SECONDS = 60
PARTITIONS = 4
LEG_SYMBOLS = (SYMBOLS[0::2], SYMBOLS[1::2])
"""By popularity in turn: the first leg has a little more."""
_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_DRAIN_SECONDS = 300.0
_HOUR_US = 60 * MINUTE_US

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, labels in order) to value."""


class Load:
    """The processes, by name; started in the caller's order, killed at the end."""

    def __init__(self, real: Engines, trino: TrinoServer | None) -> None:
        """`trino`: what the gateway may read history through; not started here."""
        self.real = real
        names = ("writer", "tail", "tail_metrics", "http", "grpc", "venue", "leg0", "leg1")
        self._ports = ports = kept_ports(real.directory, names, {})
        self.url = f"http://{LOOPBACK}:{ports['http']}"
        venue = f"{LOOPBACK}:{ports['venue']}"
        environments: dict[str, dict[str, str]] = {
            "writer": real.writer_environment(
                FLUSH_SECONDS=FLUSH_SECONDS, PARTITIONS=PARTITIONS, METRICS_PORT=ports["writer"]
            ),
            "tail": real.writer_environment(
                GRPC_PORT=ports["tail"],
                METRICS_PORT=ports["tail_metrics"],
                SPILL_FOLDER=real.directory / "spill",
                MEMORY_BYTES=4 * 1024**3,
            ),
            "gateway": real.writer_environment(
                HTTP_PORT=ports["http"],
                GRPC_PORT=ports["grpc"],
                TAIL_ADDRESSES=f"{LOOPBACK}:{ports['tail']}",
                AUTH="off",
                CURSOR_KEY="a key for as long as this runs",
                AUDIT_FILE=real.directory / "audit.log",
                TRINO_URL="http://{}:{}".format(*trino.address) if trino is not None else "",
            ),
        }
        commands = {
            "writer": ["seamark.consumer_writer", "run"],
            "tail": ["seamark.tail_cache"],
            "gateway": ["seamark.query_gateway", "run"],
            "venue": ["bench.venue", "--port", str(ports["venue"])],
        }
        commands["venue"] += ["--trades", str(TRADES_PER_SECOND), "--quotes", str(QUOTES_PER_SECOND)]
        for number, symbols in enumerate(LEG_SYMBOLS):
            commands[f"leg{number}"] = ["seamark.ingestor"]
            environments[f"leg{number}"] = real.writer_environment(
                METRICS_PORT=ports[f"leg{number}"],
                SHARD=number,
                SYMBOLS=",".join(symbols),
                VENUE_WS_URL=f"ws://{venue}",
                VENUE_REST_URL=f"http://{venue}",
            )
        self._initialise(environments["writer"])
        self._processes = {
            name: SupervisedProcess(
                name,
                [sys.executable, "-m", *command],
                real.directory / f"{name}.log",
                environments.get(name),
            )
            for name, command in commands.items()
        }

    @staticmethod
    def _initialise(environment: dict[str, str]) -> None:
        init = [sys.executable, "-m", "seamark.consumer_writer", "init"]
        subprocess.run(init, env=environment, check=True, capture_output=True)

    def start(self, *names: str) -> None:
        """All of them at once; returns when each has answered."""
        pages = {
            "writer": f"{LOOPBACK}:{self._ports['writer']}/metrics",
            "tail": f"{LOOPBACK}:{self._ports['tail_metrics']}/metrics",
            "gateway": f"{LOOPBACK}:{self._ports['http']}/readyz",
            "venue": f"{LOOPBACK}:{self._ports['venue']}/status",
            **{name: f"{LOOPBACK}:{self._ports[name]}/metrics" for name in ("leg0", "leg1")},
        }
        for name in names:
            self._processes[name].start()
        for name in names:
            self._processes[name].wait_ready(
                lambda: _page(f"http://{pages[name]}") is not None,  # noqa: B023 - called at once
                _READY_SECONDS,
            )

    def stop(self, *names: str) -> None:
        for name in names:
            self._processes[name].stop(_STOP_SECONDS)

    def kill(self) -> None:
        """Whatever still runs."""
        for process in self._processes.values():
            process.kill()

    def cpu_seconds(self) -> dict[str, float]:
        """So far, of each process that runs; of the engines, too."""
        found = {name: one.pid for name, one in self._processes.items()}
        running = {name: cpu_seconds(psutil.Process(pid)) for name, pid in found.items() if pid is not None}
        return running | self.real.cpu_seconds()

    def rss_mib(self, name: str) -> int:
        return int(psutil.Process(self._processes[name].pid).memory_info().rss / 2**20)

    def samples(self, name: str) -> Samples:
        """What a process says of itself: writer, tail, leg0, leg1."""
        port = self._ports["tail_metrics" if name == "tail" else name]
        page = _page(f"http://{LOOPBACK}:{port}/metrics")
        if page is None:
            raise RuntimeError(f"{name} gives no metrics")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def venue_status(self) -> dict[str, float]:
        page = _page(f"http://{LOOPBACK}:{self._ports['venue']}/status")
        if page is None:
            raise RuntimeError("the venue does not say what it sent")
        return dict(json.loads(page))

    def watermark(self, table: str) -> tuple[int, int]:
        """(H, E) of a table, all partitions together."""
        said = self._header(table)
        return sum(said["H"].values()), sum(said["E"].values())

    def _header(self, table: str) -> dict[str, Any]:
        page = _page(f"{self.url}/v1/watermark/{table}")
        if page is None:
            raise RuntimeError(f"the gateway does not say where {table} stands")
        return dict(json.loads(page)["header"])

    def snapshot(self, table: str) -> int:
        """The snapshot that an answer would have."""
        return int(self._header(table)["snapshot"])

    def commits(self) -> list[float]:
        """Seconds of each commit of the writer."""
        lines = (self.real.directory / "writer.log").read_text().splitlines()
        return [json.loads(line)["seconds"] for line in lines if '"committed"' in line]


@contextmanager
def load() -> Iterator[Load]:
    """Engines that run and processes that do not yet."""
    with engines() as real:
        found = Load(real, None)
        try:
            yield found
        finally:
            found.kill()


@contextmanager
def load_with_trino() -> Iterator[tuple[Load, TrinoServer]]:
    """The same with a Trino that runs. Raises EngineMissingError where there is no JDK for it."""
    with engines() as real:
        server = TrinoServer(real.directory / "trino", real.catalog)
        found = Load(real, server)
        try:
            server.start()
            yield found, server
        finally:
            found.kill()
            server.kill()


def write_history(real: Engines, hours: int, rows_an_hour: int, minutes: int, rows_a_minute: int) -> int:
    """Trades up to now: an hour a file, then a minute a file. Microseconds of their end.

    Committed as a writer would that has moved H nowhere: behind it comes what legs send.
    """
    table = IcebergTable(load_catalog("lake", **real.catalog.properties()), "market", RecordKind.TRADES.value)
    source = LakeRows(seed=1)
    end_us = time.time_ns() // 1_000 // MINUTE_US * MINUTE_US
    at_us = end_us - minutes * MINUTE_US - hours * _HOUR_US
    for span_us, count, times in ((_HOUR_US, rows_an_hour, hours), (MINUTE_US, rows_a_minute, minutes)):
        for _ in range(times):
            view = table.load()
            files = table.write_rows(view, source.rows(at_us, span_us, count))
            summary = {SUMMARY: to_summary(view.checkpoints, view.revision)}
            table.commit(view, Change({}, summary, files))
            at_us += span_us
    return end_us


def wait_for(done: Callable[[], bool], complaint: str) -> None:
    """Raises RuntimeError: it is not done in time."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{complaint} within {_DRAIN_SECONDS:g} s")
        time.sleep(0.5)


def _page(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())
    except OSError:
        return None
