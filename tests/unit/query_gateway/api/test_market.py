from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Unavailable
from twins.gateway import SNAPSHOT, MemoryGateway
from unit.query_gateway.api.market_rows import T0_US, rows
from unit.query_gateway.api.serving import Served, served, until

RANGE = {"symbol": "BTCUSDT", "start": T0_US, "end": T0_US + 2_500_000}


def test_bars_are_rows_by_interval(edge: Served):
    answer = edge.get("/v1/bars", interval="1s", **RANGE)
    assert answer.status_code == 200, answer.text
    bars = answer.json()["rows"]
    assert [bar["start"] for bar in bars] == [f"2024-08-08T23:54:{second}.000000Z" for second in (15, 16, 17)]
    assert bars[0]["open"] == "0.125"
    assert bars[0]["trades"] == 500
    assert bars[0]["complete"] is None


def test_an_aggregate_is_exact_over_the_whole_range(edge: Served):
    """Sums of 29 digits and more: beyond what Decimal adds by itself."""
    largest = Decimal("999999999999999999.9999999999")
    given = [{"price": largest, "quantity": largest} for _ in range(6)]
    edge.gateway.frames = {RecordKind.TRADES: rows(RecordKind.TRADES, 7, given)}
    found = edge.get("/v1/aggregate", **RANGE).json()["rows"]
    assert len(found) == 1
    traded = [(largest, largest)] * 3 + [(Decimal("0.875"), Decimal("0.875"))]
    scaled = [(int(price.scaleb(10)), int(quantity.scaleb(10))) for price, quantity in traded]
    notional = sum(price * quantity for price, quantity in scaled)
    assert _scaled(found[0]["notional"], 20) == notional
    assert _scaled(found[0]["volume"], 10) == sum(quantity for _, quantity in scaled)
    assert (found[0]["open"], found[0]["close"]) == ("999999999999999999.9999999999", "0.875")
    assert (found[0]["high"], found[0]["low"]) == ("999999999999999999.9999999999", "0.875")
    assert found[0]["trades"] == 4


def _scaled(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))


def test_an_aggregate_has_the_columns_of_its_functions(edge: Served):
    row = edge.get("/v1/aggregate", functions="vwap,count", **RANGE).json()["rows"][0]
    assert list(row) == ["start", "end", "vwap", "trades"]
    assert row["trades"] == 1_250


def test_an_aggregate_without_trades_is_a_row_that_says_so(edge: Served):
    row = edge.get("/v1/aggregate", **RANGE | {"start": 0, "end": 1}).json()["rows"][0]
    assert (row["trades"], row["volume"], row["notional"], row["vwap"], row["open"]) == (
        0,
        "0",
        "0",
        None,
        None,
    )


def test_as_of_gives_trades_with_quotes(edge: Served):
    answer = edge.get("/v1/asof", symbols="BTCUSDT", start=T0_US, end=T0_US + 9_000, clock="event", limit=2)
    body = answer.json()
    assert [row["quote_sequence"] for row in body["rows"]] == [1, 1]
    assert body["header"]["clock"] == "event"


def test_instruments_and_symbols_are_of_the_same_rows(edge: Served):
    instruments = edge.get("/v1/instruments", symbols="ETHUSDT").json()["rows"]
    symbols = edge.get("/v1/symbols", symbols="ETHUSDT").json()["rows"]
    assert len(symbols) == len(instruments) == 1_250
    assert symbols[0] == {name: instruments[0][name] for name in ("exchange", "market", "symbol", "status")}


def test_snapshots_say_which_can_be_asked_for(edge: Served):
    found = edge.get("/v1/snapshots/trades").json()["snapshots"]
    assert [(one["snapshot_id"], one["pinnable"]) for one in found] == [(SNAPSHOT, True), (4710, False)]
    assert datetime.fromisoformat(found[0]["timestamp"]).microsecond == 123_000


def test_a_watermark_is_that_of_the_table(edge: Served):
    found = edge.get("/v1/watermark/quotes").json()
    assert found["header"]["E"] == {"1.0": 2_500}


def test_an_estimate_is_the_cores(edge: Served):
    estimate = {"rows": 10, "bytes": 1_000, "files": 1, "cost": 1, "engine": "direct"}
    assert edge.get("/v1/estimate", table="quotes", symbols="BTCUSDT").json() == estimate
    assert edge.post("/v1/estimate", {"table": "quotes"}).json() == estimate


def test_a_running_query_is_listed_and_can_be_stopped(edge: Served):
    edge.gateway.open_gate = edge.call(asyncio.Event)
    answers: list[requests.Response] = []
    asking = threading.Thread(target=lambda: answers.append(edge.get("/v1/trades", symbols="BTCUSDT")))
    asking.start()
    running = until(lambda: edge.get("/v1/queries").json()["queries"])
    assert "BTCUSDT" in running[0]["question"]
    stopped = edge.gateway.calls[0]
    query_id = running[0]["query_id"]
    assert requests.delete(f"{edge.url}/v1/queries/{query_id}").json() == {"cancelled": query_id}
    asking.join(10)
    assert (answers[0].status_code, answers[0].json()["code"]) == (499, "CANCELLED")
    assert stopped.cancelled.is_set()
    assert edge.get("/v1/queries").json()["queries"] == []
    assert requests.delete(f"{edge.url}/v1/queries/{query_id}").status_code == 404


def test_health_needs_nothing_and_readiness_the_core(edge: Served):
    assert edge.get("/healthz").text == "ok\n"
    assert edge.get("/readyz").json() == {"ready": True, "auth": "off", "reason": None}
    edge.gateway.error = Unavailable("the catalog never answered")
    answer = edge.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the catalog never answered")
    assert edge.get("/healthz").status_code == 200


def test_metrics_count_requests_by_route_and_status(edge: Served):
    labels = {"edge": "http", "endpoint": "/v1/trades", "status": "200"}
    before = edge.metric("seamark_gateway_requests_total", **labels)
    edge.get("/v1/trades", limit=1)
    # Counted behind the last byte: the client may be first.
    until(lambda: edge.metric("seamark_gateway_requests_total", **labels) == before + 1)
    assert "seamark_gateway_requests_total" in edge.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/v1/trades", "/v1/bars", "/v1/asof", "/v1/instruments", "/v1/snapshots/trades"]
)
def test_each_request_is_audited(edge: Served, path: str):
    needed = {"interval": "1s", **RANGE} if "bars" in path else {}
    needed = {"symbols": "BTCUSDT", "start": 0, "end": 1} if "asof" in path else needed
    answer = edge.get(path, headers={"X-Correlation-Id": f"mine{path.replace('/', '-')}"}, **needed)
    line = edge.audited(correlation_id=f"mine{path.replace('/', '-')}")
    assert answer.headers["X-Correlation-Id"] == line["correlation_id"]
    assert (line["caller"], line["status"], line["question"].split()[:2]) == ("local", 200, ["GET", path])
    if "rows" in answer.json():
        assert line["rows"] == len(answer.json()["rows"])
        assert line["cursor"] == answer.headers["Seamark-Cursor"]
        assert line["exact"] is True


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/trades?limit=x", 400),
        ("/v1/trades?limit=999999999&format=json", 400),
        ("/v1/trades?symbols=X%20Y", 400),
        ("/v1/trades?start=5&end=3", 400),
        ("/v1/trades?timeout_seconds=999", 400),
        ("/v1/trades?at=forged", 400),
        ("/v1/trades?page_cursor=forged", 400),
        ("/v1/snapshots/x", 400),
        ("/v1/nothing", 404),
    ],
)
def test_what_is_refused_is_audited_once_whoever_noticed(tmp_path: Path, path: str, status: int):
    with served(tmp_path, MemoryGateway()) as edge:
        answer = edge.get(path, headers={"X-Correlation-Id": "bad"})
        assert answer.status_code == status
        line = edge.audited(correlation_id="bad")
        assert (line["caller"], line["status"], line["error"]) == ("local", status, answer.json()["message"])
        assert line["question"].startswith(f"GET {path.split('?')[0]}")
        edge.get("/v1/trades", limit=1, headers={"X-Correlation-Id": "good"})
        edge.audited(correlation_id="good")
        assert len(edge.audit_file.read_text().splitlines()) == 2
