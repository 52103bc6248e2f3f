"""Trino that does not give all rows: who leaves ends the query there, and what is lacking is said. HTTP on loopback."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from seamark.lake.errors import CatalogUnavailable
from seamark.market.predicate import Predicate
from seamark.query_gateway.pin import pin_snapshot
from seamark.query_gateway.sources import Window
from seamark.query_gateway.trino_history import TrinoHistory
from twins.gateway_sources import MemoryHistory
from unit.query_gateway.lake import KIND, Lake


@dataclass
class Coordinator:
    """One that never has more than its first rows."""

    port: int
    sessions: list[str] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    deleted: threading.Event = field(default_factory=threading.Event)
    """It was told to stop."""
    rows: list[list[object]] = field(default_factory=list)
    """Given at once; behind them it fails."""


@pytest.fixture
def coordinator():
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, body=None):
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(data)

        def working(self):
            query = f"http://127.0.0.1:{told.port}/v1/statement/executing/q/1"
            self.answer(200, {"id": "q", "infoUri": query, "nextUri": query, "stats": {"state": "RUNNING"}})

        def do_POST(self):  # noqa: N802
            told.sessions.append(self.headers.get("X-Trino-Session", ""))
            self.rfile.read(int(self.headers["content-length"]))
            if told.rows:
                query = f"http://127.0.0.1:{told.port}/v1/statement/executing/q/1"
                price = {"name": "price", "type": "varchar", "typeSignature": {"rawType": "varchar"}}
                body = {"id": "q", "infoUri": query, "nextUri": query, "stats": {"state": "RUNNING"}}
                self.answer(200, body | {"columns": [price], "data": told.rows})
            else:
                self.working()

        def do_GET(self):  # noqa: N802
            told.asked.set()
            if told.rows:
                self.answer(500)
            elif told.deleted.wait(0.5):
                error = {
                    "errorName": "USER_CANCELED",
                    "errorCode": 1,
                    "errorType": "USER_ERROR",
                    "message": "x",
                }
                self.answer(200, {"id": "q", "infoUri": "", "stats": {"state": "FAILED"}, "error": error})
            else:
                self.working()

        def do_DELETE(self):  # noqa: N802
            told.deleted.set()
            self.answer(204)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told = Coordinator(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def planned(coordinator):
    """(history, plan of all prices)"""
    lake = Lake()
    snapshot = lake.commit(1, 1)
    pin = pin_snapshot(KIND.value, lake.view, snapshot)
    planner = MemoryHistory({KIND: lake.table})
    history = TrinoHistory(
        "127.0.0.1", coordinator.port, "test", "lake", "market", planner, longest_seconds=12
    )
    return history, history.plan(pin, Predicate(), ("price",))


def test_a_failure_behind_the_first_rows_is_not_the_end_of_them(coordinator):
    coordinator.rows = [["123456789012345678.0123456789"], [None]]
    history, plan = planned(coordinator)
    with pytest.raises(CatalogUnavailable, match="500"):
        list(history.read(plan, Window(), None, threading.Event()))


def test_who_leaves_before_the_first_row_ends_the_query(coordinator):
    history, plan = planned(coordinator)
    cancelled, frames = threading.Event(), []
    reading = threading.Thread(
        target=lambda: frames.extend(history.read(plan, Window(), None, cancelled)), daemon=True
    )
    reading.start()
    assert coordinator.asked.wait(10)
    assert not coordinator.deleted.is_set()
    began = time.monotonic()
    cancelled.set()
    reading.join(10)
    assert not reading.is_alive()
    assert time.monotonic() - began < 3
    assert coordinator.deleted.is_set()
    assert frames == []
    assert any("query_max_run_time=12s" in session for session in coordinator.sessions)
