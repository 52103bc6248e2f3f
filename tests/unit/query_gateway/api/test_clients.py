"""Clients that leave, that do not read, and answers that break off."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Unavailable
from twins.gateway import MemoryGateway
from unit.query_gateway.api.market_rows import rows
from unit.query_gateway.api.serving import Served, served, until

MANY = 60_000


@pytest.fixture(scope="module")
def _many(tmp_path_factory):
    """Rows of 30 MB as text: more than buffers on the way take in."""
    with served(
        tmp_path_factory.mktemp("many"), MemoryGateway({RecordKind.TRADES: rows(RecordKind.TRADES, MANY)})
    ) as running:
        yield running


@pytest.fixture
def many(_many: Served) -> Served:
    gateway = _many.gateway
    gateway.stop_at_batch = gateway.open_gate = gateway.error = gateway.error_after_rows = None
    gateway.closed = gateway.given_batches = 0
    gateway.calls.clear()
    return _many


def asking(edge: Served, path: str) -> socket.socket:
    """A connection that has asked, and whose window is small."""
    address = urlsplit(edge.url)
    assert address.hostname is not None and address.port is not None
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect((address.hostname, address.port))
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Correlation-Id: {path.rsplit('=', 1)[-1]}\r\n\r\n".encode()
    )
    return client


def leave(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_client_that_leaves_before_the_answer_cancels_it(many: Served):
    many.gateway.open_gate = many.call(asyncio.Event)
    client = asking(many, "/v1/trades?symbols=LEFTEARLY")
    until(lambda: many.gateway.calls)
    leave(client)
    until(many.gateway.calls[0].cancelled.is_set)
    assert many.audited(correlation_id="LEFTEARLY")["status"] == 499


@pytest.mark.parametrize("name", ["ndjson", "csv", "arrow"])
def test_a_client_that_leaves_in_the_middle_cancels_what_is_behind(many: Served, name: str):
    many.gateway.stop_at_batch = 20
    client = asking(many, f"/v1/trades?format={name}")
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    leave(client)
    until(lambda: many.gateway.closed)
    assert many.gateway.calls[0].cancelled.is_set()
    assert many.audited(correlation_id=name)["status"] == 499
    assert many.call(many.access.registry.running) == []


def test_a_client_that_does_not_read_is_given_up(many: Served):
    client = asking(many, "/v1/trades?fields=vendor_data,native_id,price&format=ndjson&order=desc")
    line = many.audited(correlation_id="desc")
    assert line["status"] == 499
    assert "took nothing for 1 s" in line["error"]
    assert many.gateway.given_batches < MANY // many.gateway.batch_rows
    # The connection is closed, although the client has not read: only the kernel's buffers are left.
    client.settimeout(10)
    got = b""
    while piece := client.recv(1 << 20):
        got += piece
    assert not got.endswith(b"0\r\n\r\n")
    client.close()


def test_memory_does_not_grow_with_a_client_that_does_not_read(many: Served):
    client = asking(many, "/v1/trades?format=ndjson&order=asc&clock=event")
    until(lambda: many.gateway.given_batches)
    line = many.audited(correlation_id="event")
    leave(client)
    assert line["rows"] * 500 < 12 * 1024 * 1024


def test_an_answer_that_has_come_whole_is_no_client_that_left(many: Served):
    for turn in range(20):
        address = urlsplit(many.url)
        client = socket.create_connection((str(address.hostname), int(address.port or 0)))
        client.sendall(
            f"GET /v1/trades?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Correlation-Id: whole{turn}\r\n\r\n".encode()
        )
        while client.recv(65_536):
            pass
        client.close()
        assert many.audited(correlation_id=f"whole{turn}")["status"] == 200


@pytest.mark.parametrize("name", ["ndjson", "csv", "parquet", "arrow"])
def test_a_failure_in_the_middle_breaks_the_body(many: Served, name: str):
    many.gateway.error, many.gateway.error_after_rows = Unavailable("the files are gone"), 50_000
    answer = requests.get(f"{many.url}/v1/trades", {"format": name}, stream=True, timeout=20)
    # Parquet begins to be sent with its first row group, which is not full yet.
    if name == "parquet":
        assert answer.status_code == 503
        return
    assert answer.status_code == 200
    got: list[bytes] = []
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        got.extend(answer.iter_content(1 << 20))
    if name == "ndjson":
        error = json.loads(b"".join(got).splitlines()[-1])["error"]
        assert (error["code"], error["message"]) == ("UNAVAILABLE", "the files are gone")
    labels = {"edge": "http", "endpoint": "/v1/trades", "status": "503"}
    until(lambda: many.metric("seamark_gateway_requests_total", **labels))


def test_a_failure_before_the_body_has_its_own_status(many: Served):
    many.gateway.error, many.gateway.error_after_rows = Unavailable("the files are gone"), 50_000
    for name in ("json", "csv", "arrow"):
        answer = requests.get(f"{many.url}/v1/trades", {"format": name, "limit": "55000"}, timeout=20)
        assert (answer.status_code, answer.json()["message"]) == (503, "the files are gone")


def test_an_operator_stops_an_answer_in_the_middle(many: Served):
    many.gateway.stop_at_batch = 20
    answer = requests.get(f"{many.url}/v1/trades", {"format": "csv"}, stream=True, timeout=20)
    assert (
        requests.delete(f"{many.url}/v1/queries/{answer.headers['Seamark-Query-Id']}", timeout=20).status_code
        == 200
    )
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(answer.iter_content(1 << 20))
    until(lambda: many.gateway.closed)


def test_audit_lines_are_dropped_and_counted_rather_than_waited_for(tmp_path: Path):
    with served(tmp_path, MemoryGateway(), audit_lines=1) as edge:
        writer = edge.access.audit._target
        writer.acquire()  # the disk is stuck
        try:
            for _ in range(5):
                assert edge.get("/v1/trades").status_code == 200
            assert edge.metric("seamark_gateway_audit_dropped_total") >= 2
        finally:
            writer.release()


def test_answers_under_way_end_before_the_server_does(tmp_path: Path):
    gateway = MemoryGateway({RecordKind.TRADES: rows(RecordKind.TRADES, 10)})
    with served(tmp_path, gateway) as edge:
        gate = gateway.open_gate = edge.call(asyncio.Event)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(edge.get, "/v1/trades")
            until(lambda: gateway.calls)
            edge.server.should_exit = True
            until(lambda: refuses(edge.url))
            edge.call(gate.set)
            assert len(asked.result(10).json()["rows"]) == 10


def test_an_answer_that_does_not_end_is_cut_off_when_the_server_ends(tmp_path: Path):
    gateway = MemoryGateway()
    with served(tmp_path, gateway) as edge:
        gateway.open_gate = edge.call(asyncio.Event)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(edge.get, "/v1/trades")
            until(lambda: gateway.calls)
            edge.server.should_exit = True
            answer = asked.result(10)
        assert (answer.status_code, answer.json()["message"]) == (503, "the server ends")
        assert gateway.calls[0].cancelled.is_set()
        assert edge.audited(status=499)


def refuses(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((str(address.hostname), int(address.port or 0))).close()
    except ConnectionRefusedError:
        return True
    return False


def test_more_answers_than_can_be_begun_are_refused_at_once_and_slow_readers_take_no_place(tmp_path: Path):
    gateway = MemoryGateway({RecordKind.TRADES: rows(RecordKind.TRADES, MANY)})
    with served(tmp_path, gateway, most_beginning=2) as edge, ThreadPoolExecutor(2) as clients:
        slow = [asking(edge, f"/v1/trades?format=csv&symbols=S{number}") for number in range(3)]
        until(lambda: edge.call(lambda: len(gateway.calls) == 3 and edge.access.quotas.beginning == 0))
        gateway.open_gate = edge.call(asyncio.Event)
        waiting = [clients.submit(edge.get, "/v1/trades?limit=1") for _ in range(2)]
        until(lambda: edge.call(lambda: edge.access.quotas.beginning == 2))
        refused = edge.get("/v1/trades?limit=1")
        assert (refused.status_code, refused.json()["code"]) == (429, "TOO_COSTLY")
        assert refused.headers["Retry-After"] == "1"
        assert edge.get("/v1/queries").status_code == 200, "what runs can still be seen, and stopped"
        edge.call(gateway.open_gate.set)
        assert [one.result().status_code for one in waiting] == [200, 200]
        gateway.error = Unavailable("no answer")
        assert [edge.get("/v1/trades?limit=1").status_code for _ in range(3)] == [503] * 3
        assert edge.call(lambda: edge.access.quotas.beginning) == 0, "what fails gives its place back"
        for client in slow:
            leave(client)
