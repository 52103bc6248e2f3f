"""The API of a real gateway that wants keys: what hostile and careless callers get, and that it stays well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import polars as pl
import pytest
import requests
from confluent_kafka import Producer

from corpus.corpora import good_record
from integration.gateway import GatewayProcess
from integration.market import Feed, Market, Spares, open_market, wait_until
from integration.tail import TailProcess
from seamark.ingestor.events import interval_closed, symbol_key
from seamark.local.engines import CatalogServer, KafkaNode
from seamark.local.engines.ports import LOOPBACK
from seamark.market.schema import RecordKind
from seamark.query_gateway.auth import Role, new_key
from seamark.query_gateway.cursor import Cursor, CursorCodec, TableCursor
from seamark.rpc.v1 import market_data_pb2 as messages
from seamark.rpc.v1 import market_data_pb2_grpc, predicate_pb2
from seamark.stream.encode import Encoder
from seamark.stream.topics import FEED_EVENTS, market_topic
from seamark.stream.wire import FIXED_SCHEMA_IDS

KEY, KEY_LINE = new_key("reader", [Role.READER])
FORGED = CursorCodec(b"f" * 32).encode(Cursor("0" * 16, {"trades": TableCursor(1, {}, 0)}))
MINUTE_US = 60_000_000
RARE = "RARE1USDT"
"""A symbol that no other test's klines are of: all markets share the topic of feed events."""
SQL = "BTCUSDT' OR 1=1--"


@pytest.fixture(scope="module")
def gateway(
    kafka: KafkaNode,
    catalog_server: CatalogServer,
    spares: Spares,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("api")
    (folder / "keys").write_text(f"{KEY_LINE}\n")
    with open_market(kafka, catalog_server, spares) as market:
        _fill(market)
        with (
            TailProcess(market, folder / "tail") as tail,
            GatewayProcess(
                market,
                folder / "gateway",
                [tail.address],
                KEY,
                auth="on",
                keys_file=folder / "keys",
                audit_file=folder / "audit",
            ) as gateway,
        ):
            tail.await_serving()
            gateway.await_serving()
            yield gateway


def _fill(market: Market) -> None:
    """Rows on both sides, and two instruments."""
    feed = Feed(market)
    feed.send(300)
    writer = market.start_reading()
    market.drain(writer)
    assert writer.terminate() == 0, writer.log()
    feed.send(300)
    kind = RecordKind.REFERENCE_DATA
    producer = Producer({"bootstrap.servers": market.kafka.bootstrap})
    rare: dict[str, object] = {
        "event_id": "rare",
        "exchange": "binance",
        "market": "spot",
        "symbol": RARE,
        "status": "TRADING",
    }
    rare |= {"timestamp": 10**15, "ingestion_timestamp": 10**15, "currency": "USDT"}
    encoded = Encoder(kind, FIXED_SCHEMA_IDS[kind]).encode(rare)
    for record in (good_record(kind.value), encoded):
        producer.produce(market_topic("crypto", kind, market.exchange), record, partition=0)
    assert producer.flush(20) == 0


@pytest.fixture(autouse=True)
def _stays_well(gateway: GatewayProcess) -> Iterator[None]:
    """After every request the gateway still answers, exactly."""
    yield
    reply = gateway.ask(limit=5)
    assert (reply.status, len(reply.table)) == (200, 5), reply.error
    assert reply.exact
    assert gateway.running() == []


def test_without_a_key_or_with_a_forged_one_nothing_is_said(gateway: GatewayProcess) -> None:
    other = new_key("reader", [Role.READER])[0]
    for headers in ({}, {"Authorization": f"Bearer {other}"}, {"Authorization": f"Bearer {KEY[:-1]}x"}):
        answer = requests.get(f"{gateway.url}/v1/trades", headers=headers, timeout=20)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


def test_a_symbol_that_is_sql_is_refused_as_one(gateway: GatewayProcess) -> None:
    for answer in (
        gateway.get("/v1/trades", symbols=SQL),
        gateway.post("/v1/trades", {"symbols": [SQL]}),
        gateway.get("/v1/bars", symbol=SQL, interval="1m", start="0", end="60000000"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID"), answer.text
        assert "symbol" in answer.json()["field"]
    # As a value it is text like any other: it equals nothing.
    reply = gateway.ask(filters=f"currency:eq:{SQL}")
    assert (reply.status, len(reply.table)) == (200, 0), reply.error


def test_a_symbol_that_no_instrument_has_is_named(gateway: GatewayProcess) -> None:
    answer = gateway.get("/v1/trades", symbols="NOSUCHUSDT")
    assert (answer.status_code, answer.json()["field"]) == (404, "symbols"), answer.text
    assert "'NOSUCHUSDT'" in answer.json()["message"]


def test_a_cursor_that_is_forged_or_of_another_question_is_refused(gateway: GatewayProcess) -> None:
    first = gateway.ask(limit=10)
    assert first.next_cursor
    for parameters, field in (
        ({"at": FORGED}, "at"),
        ({"page_cursor": FORGED, "limit": 10}, "page_cursor"),
        ({"at": first.cursor, "filters": "side:eq:BUY"}, "at"),
        ({"page_cursor": first.next_cursor, "limit": 10, "order": "desc"}, "page_cursor"),
        ({"page_cursor": first.cursor, "limit": 10}, "page_cursor"),
    ):
        answer = gateway.get("/v1/trades", **parameters)
        assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


def test_offsets_that_are_far_ahead_are_stale_within_the_time_that_was_given(gateway: GatewayProcess) -> None:
    answer = gateway.get("/v1/trades", min_offsets=f"1.0:{10**17}", timeout_seconds=2)
    assert answer.status_code == 412, answer.text
    unknown = gateway.get("/v1/trades", min_offsets="77.9:5", timeout_seconds=2)
    assert unknown.status_code in (400, 410, 412), unknown.text


def test_all_of_time_is_an_answer_like_any_other(gateway: GatewayProcess) -> None:
    reply = gateway.ask(start="1970-01-01T00:00:00Z", end="9999-12-30T00:00:00Z")
    assert (reply.status, reply.exact, len(reply.table)) == (200, True, 600)
    bars = gateway.get("/v1/bars", symbol="BTCUSDT", interval="1s", start="0", end=str(10**15))
    assert (bars.status_code, bars.json()["code"]) == (400, "INVALID"), bars.text


def test_bars_are_complete_once_the_log_has_the_klines_of_their_minutes(gateway: GatewayProcess) -> None:
    minute_us = pl.col("timestamp").to_physical() // MINUTE_US * MINUTE_US
    ids = pl.col("source_sequence")
    minutes = (
        gateway.ask(symbols=RARE)
        .frame()
        .group_by(start_us=minute_us)
        .agg(first=ids.min(), last=ids.max())
        .sort("start_us")
    )
    first_us, last_us = minutes["start_us"][0], minutes["start_us"][-1]

    def complete() -> list[bool | None]:
        asked = {"symbol": RARE, "start": first_us, "end": last_us + MINUTE_US}
        answer = gateway.get("/v1/bars", interval="1m", **asked)
        assert answer.status_code == 200, answer.text
        return [bar["complete"] for bar in answer.json()["rows"]]

    assert complete() == [None] * len(minutes)
    encoder = Encoder(RecordKind.FEED_EVENTS, FIXED_SCHEMA_IDS[RecordKind.FEED_EVENTS])
    producer = Producer({"bootstrap.servers": gateway.settings["kafka_bootstrap"]})
    for start_us, first, last in minutes.iter_rows():
        event = interval_closed(
            "binance", "spot", "trade", RARE, start_us, start_us + MINUTE_US, (first, last), last_us
        )
        producer.produce(FEED_EVENTS, encoder.encode(event), key=symbol_key("binance", RARE))
    assert producer.flush(20) == 0
    wait_until(lambda: complete() == [True] * len(minutes), lambda: f"klines are seen: {complete()}")


def test_a_body_that_is_too_large_is_not_read(gateway: GatewayProcess) -> None:
    answer = gateway.post("/v1/trades", {"symbols": ["A" * 2_000_000]})
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_grpc_refuses_the_same(gateway: GatewayProcess) -> None:
    address = f"{LOOPBACK}:{gateway.settings['grpc_port']}"
    with grpc.insecure_channel(address) as channel:
        stub = market_data_pb2_grpc.MarketDataServiceStub(channel)

        def refused(request: messages.QueryRequest, key: str = KEY) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Query(request, metadata=(("authorization", f"Bearer {key}"),), timeout=20))
            return caught.value.code()

        hostile = messages.QueryRequest(table="trades", predicate=predicate_pb2.Predicate(symbols=[SQL]))
        assert refused(hostile) is grpc.StatusCode.INVALID_ARGUMENT
        assert refused(messages.QueryRequest(table="trades; drop")) is grpc.StatusCode.INVALID_ARGUMENT
        paged = messages.QueryRequest(table="trades", page_cursor=FORGED)
        assert refused(paged) is grpc.StatusCode.INVALID_ARGUMENT
        assert refused(messages.QueryRequest(table="trades"), "none") is grpc.StatusCode.UNAUTHENTICATED


def test_every_request_is_in_the_audit(gateway: GatewayProcess) -> None:
    gateway.ask(limit=7)

    def noted() -> bool:
        lines = [json.loads(line) for line in Path(gateway.settings["audit_file"]).read_text().splitlines()]
        return any(
            (line.get("caller"), line.get("rows"), line.get("exact")) == ("reader", 7, True) for line in lines
        )

    gateway.wait(noted, "it is in the audit")
