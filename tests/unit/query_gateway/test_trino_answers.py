"""What Trino gives, and does not: values are exact, who leaves ends the query there. HTTP on loopback."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from seamark.lake.errors import CatalogUnavailable
from seamark.market.predicate import Predicate
from seamark.market.schema import row_schema
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
    """Given at once."""
    fails: bool = False
    """Behind them; else they are all."""


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
                body: dict[str, object] = {"id": "q", "infoUri": query, "stats": {}, "data": told.rows}
                column = {"name": "c", "type": "varchar", "typeSignature": {"rawType": "varchar"}}
                body["columns"] = [column] * len(told.rows[0])
                self.answer(200, body | ({"nextUri": query} if told.fails else {}))
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


def planned(coordinator, *columns):
    """(history, plan of all rows)"""
    lake = Lake()
    snapshot = lake.commit(1, 1)
    pin = pin_snapshot(KIND.value, lake.view, snapshot)
    planner = MemoryHistory({KIND: lake.table})
    history = TrinoHistory(
        "127.0.0.1", coordinator.port, "test", "lake", "market", planner, longest_seconds=12
    )
    return history, history.plan(pin, Predicate(), columns or ("price",))


def test_values_are_exact(coordinator):
    coordinator.rows = [
        ["2026-11-29 23:39:00.000001 UTC", "123456789012345678.0123456789", None, "币安人生USDT"],
        ["1969-12-31 23:59:59.999999 UTC", "-0.0000000001", 2**63 - 1, " UTC"],
    ]
    columns = ("timestamp", "price", "source_sequence", "symbol")
    history, plan = planned(coordinator, *columns)
    (frame,) = history.read(plan, Window(), None, threading.Event())
    assert frame.to_arrow().cast(
        pa.schema([row_schema(KIND).field(name) for name in columns])
    ).to_pylist() == [
        {
            "timestamp": datetime(2026, 11, 29, 23, 39, 0, 1, UTC),
            "price": Decimal("123456789012345678.0123456789"),
            "source_sequence": None,
            "symbol": "币安人生USDT",
        },
        {
            "timestamp": datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            "price": Decimal("-0.0000000001"),
            "source_sequence": 2**63 - 1,
            "symbol": " UTC",
        },
    ]


@pytest.mark.parametrize("text", ["2026-11-29 23:39:00.000001", "2026-11-29 23:39:00.000001 Europe/Berlin"])
def test_an_instant_of_no_known_zone_is_refused(coordinator, text):
    coordinator.rows = [[text]]
    history, plan = planned(coordinator, "timestamp")
    with pytest.raises(pa.ArrowInvalid):
        list(history.read(plan, Window(), None, threading.Event()))


def test_a_failure_behind_the_first_rows_is_not_the_end_of_them(coordinator):
    coordinator.rows, coordinator.fails = [["0.0000000001"]], True
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
