from __future__ import annotations

import asyncio

import pytest
import requests

from seamark.query_gateway.cursor import Cursor, CursorCodec, TableCursor
from seamark.query_gateway.errors import (
    Gone,
    Invalid,
    NotFound,
    Stale,
    TooCostly,
    Unavailable,
)
from seamark.query_gateway.header import Estimate
from seamark.query_gateway.question import Engine
from unit.query_gateway.api.market_rows import T0_US
from unit.query_gateway.api.serving import BODY_BYTES, Served

FORGED = CursorCodec(b"f" * 32).encode(Cursor("0" * 16, {"trades": TableCursor(1, {}, 0)}))
BARS = {"symbol": "BTCUSDT", "start": "0", "end": "60000000", "interval": "1m"}


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("/v1/trades", {"symbols": "BTCUSDT' OR 1=1--"}, "symbols.0"),
        ("/v1/trades", {"symbols": "BTCUSDT;DROP TABLE trades"}, "symbols.0"),
        ("/v1/trades", {"symbols": ""}, "symbols.0"),
        ("/v1/trades", {"symbols": "A" * 33}, "symbols.0"),
        ("/v1/trades", {"symbols": ",".join(f"S{n}" for n in range(1_001))}, "symbols"),
        ("/v1/trades", {"fields": "price,nonsense"}, "fields"),
        ("/v1/trades", {"fields": "price,price"}, "fields"),
        ("/v1/trades", {"filters": "nonsense:eq:1"}, "filters.nonsense"),
        ("/v1/trades", {"filters": "price:eq:1e5"}, "filters.price"),
        ("/v1/trades", {"filters": "price:eq:NaN"}, "filters.price"),
        ("/v1/trades", {"filters": "price:like:1"}, "filters.0"),
        ("/v1/trades", {"filters": "timestamp:ge:yesterday"}, "filters.timestamp"),
        ("/v1/trades", {"filters": "trade_conditions:eq:1"}, "filters.trade_conditions"),
        ("/v1/trades", {"start": "5", "end": "3"}, "start"),
        ("/v1/trades", {"start": "5", "end": "5"}, "start"),
        ("/v1/trades", {"start": "2024-08-08T12:00:00.0000001Z"}, "start"),
        ("/v1/trades", {"start": "2024-08-08T12:00:00"}, "start"),
        ("/v1/trades", {"start": "2024-02-30T12:00:00Z"}, "start"),
        ("/v1/trades", {"start": "2024-08-08T12:00:00 02:00"}, "start"),
        ("/v1/trades", {"start": "1.5"}, "start"),
        ("/v1/trades", {"start": "NaN"}, "start"),
        ("/v1/trades", {"end": str(10**19)}, "end"),
        ("/v1/trades", {"limit": "0"}, "limit"),
        ("/v1/trades", {"limit": "-1"}, "limit"),
        ("/v1/trades", {"limit": "many"}, "limit"),
        ("/v1/trades", {"limit": "100001"}, "limit"),
        ("/v1/trades", {"limit": str(10**30)}, "limit"),
        ("/v1/trades", {"limit": "100001", "format": "parquet"}, "limit"),
        ("/v1/trades", {"page_cursor": FORGED}, "page_cursor"),
        ("/v1/trades", {"page_cursor": "x" * 5_000}, "page_cursor"),
        ("/v1/trades", {"page_cursor": "é"}, "page_cursor"),
        ("/v1/trades", {"at": FORGED}, "at"),
        ("/v1/trades", {"at": ""}, "at"),
        ("/v1/trades", {"at": FORGED, "snapshot": "1"}, "snapshot"),
        ("/v1/trades", {"page_cursor": FORGED, "max_staleness_ms": "1"}, "page_cursor"),
        ("/v1/trades", {"min_offsets": "1.0"}, "min_offsets"),
        ("/v1/trades", {"min_offsets": "1.0:-5"}, "min_offsets"),
        ("/v1/trades", {"max_staleness_ms": "-1"}, "max_staleness_ms"),
        ("/v1/trades", {"max_staleness_ms": "Infinity"}, "max_staleness_ms"),
        ("/v1/trades", {"timeout_seconds": "nan"}, "timeout_seconds"),
        ("/v1/trades", {"timeout_seconds": "61"}, "timeout_seconds"),
        ("/v1/trades", {"engine": "spark"}, "engine"),
        ("/v1/trades", {"clock": "sun"}, "clock"),
        ("/v1/trades", {"format": "xml"}, "format"),
        ("/v1/trades", {"sql": "select 1"}, "sql"),
        ("/v1/feed-events", {"clock": "receive"}, "clock"),
        ("/v1/trades/recent", {"seconds": "nan"}, "seconds"),
        ("/v1/trades/recent", {"last": "100001"}, "last"),
        ("/v1/bars", BARS | {"interval": "7m"}, "interval"),
        ("/v1/bars", BARS | {"start": "60000000"}, "start"),
        ("/v1/bars", BARS | {"end": str(10**15), "interval": "1s"}, "interval"),
        ("/v1/bars", {"symbol": "BTCUSDT"}, "start"),
        (
            "/v1/aggregate",
            {"symbol": "BTCUSDT", "start": "0", "end": "1", "functions": "median"},
            "functions.0",
        ),
        ("/v1/asof", {"symbols": "BTCUSDT", "start": "5", "end": "3"}, "start"),
        ("/v1/asof", {"start": "3", "end": "5"}, "symbols"),
        ("/v1/asof", {"symbols": "BTCUSDT", "start": "3", "end": "5", "tolerance_us": "-1"}, "tolerance_us"),
        ("/v1/estimate", {"table": "secrets"}, "table"),
        ("/v1/snapshots/secrets", {}, "table"),
        ("/v1/watermark/secrets", {}, "table"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_part(edge: Served, path, parameters, field):
    answer = edge.get(path, **parameters)
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert (error["code"], error["field"]) == ("INVALID", field), error
    assert error["message"] and error["correlation_id"] == answer.headers["X-Correlation-Id"]
    assert not edge.gateway.given_batches


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"limit": true}', "limit"),
        ('{"limit": "5"}', "limit"),
        ('{"limit": 1.5}', "limit"),
        ('{"limit": NaN}', "limit"),
        ('{"max_staleness_ms": Infinity}', "max_staleness_ms"),
        ('{"symbols": "BTCUSDT"}', "symbols"),
        ('{"symbols": [1]}', "symbols.0"),
        ('{"symbols": ["x\' or 1=1"]}', "symbols.0"),
        ('{"filters": [{"column": "price", "operator": "eq", "values": [1.5]}]}', "filters.0.values.0"),
        ('{"filters": [{"column": "price", "operator": "eq", "values": ["1", "2"]}]}', "filters.price"),
        ('{"min_offsets": {"1.0": -1}}', "min_offsets.1.0"),
        ('{"min_offsets": {"one": 1}}', "min_offsets.one.[key]"),
        ('{"start": 1.5}', "start"),
        ('{"start": true}', "start"),
        ('{"sql": "select 1"}', "sql"),
        ("{", "body"),
        ("[]", "body"),
        ("null", "body"),
        ("", "body"),
        ("[" * 20_000, None),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_its_part(edge: Served, body: str, field: str | None):
    answer = requests.post(
        f"{edge.url}/v1/trades", body, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert answer.status_code == 400, answer.text
    assert (answer.json()["code"], answer.json()["field"]) == ("INVALID", field), answer.json()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_not_read(edge: Served, chunked: bool):
    body = b'{"symbols": ["' + b"x" * BODY_BYTES + b'"]}'
    sent = iter([body]) if chunked else body
    answer = requests.post(
        f"{edge.url}/v1/trades", sent, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Invalid("start", "start was wrong"), 400, "INVALID"),
        (NotFound("no such symbol", "symbols"), 404, "NOT_FOUND"),
        (Gone("shed_since", "at"), 410, "GONE"),
        (Stale("not fresh"), 412, "STALE"),
        (TooCostly("too much"), 429, "TOO_COSTLY"),
        (Unavailable("no pin"), 503, "UNAVAILABLE"),
        (ZeroDivisionError("a secret"), 500, "INTERNAL"),
    ],
)
def test_each_error_has_its_status(edge: Served, error: Exception, status: int, code: str):
    edge.gateway.error = error
    for path in ("/v1/trades", "/v1/instruments", "/v1/watermark/trades"):
        answer = edge.get(path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["field"] == (getattr(error, "field", "") or None)
        assert ("secret" in answer.text) is False


def test_waiting_helps_only_where_it_is_said(edge: Served):
    edge.gateway.error = TooCostly("later", retry_after_seconds=2.2)
    assert edge.get("/v1/trades").headers["Retry-After"] == "3"
    edge.gateway.error = TooCostly("never")
    assert "Retry-After" not in edge.get("/v1/trades").headers


def test_an_unknown_symbol_is_said(edge: Served):
    edge.gateway.symbols = frozenset({"BTCUSDT"})
    answer = edge.get("/v1/trades", symbols="NOSUCH")
    assert (answer.status_code, answer.json()["field"]) == (404, "symbols")


def test_freshness_that_is_not_there_is_412(edge: Served):
    assert edge.get("/v1/trades", min_offsets="1.0:2501").status_code == 412
    assert edge.post("/v1/trades", {"min_offsets": {"1.0": 2_500}}).status_code == 200
    assert edge.get("/v1/trades", max_staleness_ms=0).status_code == 412


def test_a_snapshot_that_is_gone_is_410(edge: Served):
    assert edge.get("/v1/trades", snapshot=1).status_code == 410
    assert edge.get("/v1/trades", snapshot=4_711).status_code == 200


def test_an_answer_without_pages_has_a_cap(edge: Served):
    edge.gateway.estimate_is = Estimate(5_000_001, 10**9, 9, Engine.DIRECT, 1_500)
    answer = edge.get("/v1/trades", format="parquet")
    assert (answer.status_code, answer.json()["code"]) == (429, "TOO_COSTLY")
    assert edge.get("/v1/trades", format="parquet", limit=10).status_code == 200
    assert edge.get("/v1/trades", format="ndjson").status_code == 200


def test_a_join_has_a_cap_whatever_its_limit(edge: Served):
    span = {"symbols": "BTCUSDT", "start": T0_US, "end": T0_US + 1, "limit": 1}
    assert edge.get("/v1/asof", **span).status_code == 200
    edge.gateway.estimate_is = Estimate(500_001, 10**9, 9, Engine.DIRECT, 1_500)  # of trades and of quotes
    assert edge.get("/v1/asof", **span).status_code == 429


def test_an_unknown_accept_is_refused(edge: Served):
    answer = edge.get("/v1/trades", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["field"]) == (400, "Accept")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/trades", 405),
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
    ],
)
def test_what_is_not_there_is_said_in_the_same_form(edge: Served, method: str, path: str, status: int):
    answer = requests.request(method, edge.url + path, timeout=20)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "field", "correlation_id"}


def test_an_answer_that_does_not_begin_in_time_is_503(edge: Served):
    edge.gateway.open_gate = edge.call(asyncio.Event)
    answer = edge.get("/v1/trades", timeout_seconds=0.05)
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert edge.gateway.calls[0].cancelled.is_set()


def test_what_is_no_http_is_refused_in_the_same_form(edge: Served):
    answer = edge.get("/v1/trades", symbols="A" * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID")


def test_a_forged_correlation_id_is_replaced(edge: Served):
    answer = edge.get("/healthz", headers={"X-Correlation-Id": 'x" evil'})
    assert answer.headers["X-Correlation-Id"] != 'x" evil'
