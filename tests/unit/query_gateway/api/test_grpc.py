from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.access import Access
from seamark.query_gateway.audit import Audit
from seamark.query_gateway.auth import Keys, Role, new_key
from seamark.query_gateway.errors import Gone, Invalid, NotFound, Stale, TooCostly, Unavailable
from seamark.query_gateway.grpc_api import SERVICE, MarketDataService
from seamark.query_gateway.header import Missing
from seamark.query_gateway.quotas import Quota, Quotas
from seamark.query_gateway.running import Registry
from seamark.rpc import vectors
from seamark.rpc.client import open_channel
from seamark.rpc.errors import rpc_error
from seamark.rpc.frames import decode
from seamark.rpc.server import serve
from seamark.rpc.v1 import market_data_pb2 as messages
from seamark.rpc.v1 import market_data_pb2_grpc, offsets_pb2, predicate_pb2
from seamark.telemetry.metrics import GatewayMetrics
from twins.gateway import WHERE, MemoryGateway
from unit.query_gateway.api.market_rows import T0_US, rows
from unit.query_gateway.api.serving import LIMITS

FRAMES = {kind: rows(kind, 2_500) for kind in RecordKind}
_KEY, _LINE = new_key("reader", [Role.READER])
_OPERATOR, _OPERATOR_LINE = new_key("operator", [Role.OPERATOR])
AUTH = (("authorization", f"Bearer {_KEY}"),)


@dataclass(slots=True)
class Edge:
    gateway: MemoryGateway
    access: Access
    stub: Any
    audit_file: Path

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Edge]:
    gateway = MemoryGateway(dict(FRAMES))
    metrics = GatewayMetrics(CollectorRegistry())
    (folder / "keys").write_text(f"{_LINE}\n{_OPERATOR_LINE}\n")
    audit = Audit(folder / "audit", metrics.audit_dropped)
    keys = Keys(folder / "keys", Quota(1_000.0, 10_000.0, 8))
    access = Access(keys, Quotas(), Registry(), audit, metrics)
    service = MarketDataService(gateway, access, LIMITS)
    add = partial(market_data_pb2_grpc.add_MarketDataServiceServicer_to_server, service)
    server = await serve("127.0.0.1:0", {SERVICE: add})
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield Edge(gateway, access, market_data_pb2_grpc.MarketDataServiceStub(channel), folder / "audit")
    await server.stop(0)
    audit.close()


def over_grpc(folder: Path, scenario: Callable[[Edge], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), serving(folder) as edge:
            await scenario(edge)

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def whole(call) -> tuple[messages.AnswerHeader, pa.Table, messages.AnswerTrailer]:
    """Header, rows and trailer of an answer, which come in that order."""
    parts = [part async for part in call]
    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds[0] == "header" and kinds[-1] == "trailer" and set(kinds[1:-1]) == {"arrow"}
    frames = [part.arrow for part in parts[1:-1]]
    schema = pa.ipc.open_stream(b"".join(frames)).schema
    table = pa.Table.from_batches(decode(frames), schema)
    assert table.num_rows == parts[-1].trailer.rows
    return parts[0].header, table, parts[-1].trailer


def test_a_query_gives_header_rows_and_trailer(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        request = messages.QueryRequest(
            table="trades",
            predicate=predicate_pb2.Predicate(
                symbols=["BTCUSDT"],
                from_us=T0_US + 2_000,
                to_us=T0_US + 9_000,
                filters=[
                    predicate_pb2.Filter(
                        column="price", comparison=predicate_pb2.COMPARISON_GE, values=["0.625"]
                    )
                ],
            ),
        )
        header, table, trailer = await whole(edge.stub.Query(request, metadata=AUTH))
        assert table.schema == row_schema(RecordKind.TRADES)
        assert table["kafka_offset"].to_pylist() == [4, 6, 8]
        assert header.exact and header.engine == "direct" and not trailer.next_cursor
        assert vectors.from_proto(header.tables[0].end) == {WHERE: 2_500}
        line = edge.lines
        await until(lambda: edge.audit_file.exists() and line())
        (entry,) = line()
        assert (entry["caller"], entry["edge"], entry["endpoint"]) == ("reader", "grpc", "Query")
        assert (entry["status"], entry["rows"], entry["cursor"]) == (200, 3, header.cursor)

    over_grpc(tmp_path, scenario)


def test_pages_together_are_all_rows_and_a_cursor_gives_them_again(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        request = messages.QueryRequest(table="quotes", columns=["kafka_offset"], limit=900)
        found: list[int] = []
        while True:
            header, table, trailer = await whole(edge.stub.Query(request, metadata=AUTH))
            found += table["kafka_offset"].to_pylist()
            if not trailer.next_cursor:
                break
            request.page_cursor = trailer.next_cursor
        assert found == list(range(2_500))
        request = messages.QueryRequest(table="quotes", columns=["kafka_offset"])
        header, first, _ = await whole(edge.stub.Query(request, metadata=AUTH))
        request.consistency.at_cursor = header.cursor
        assert (await whole(edge.stub.Query(request, metadata=AUTH)))[1] == first

    over_grpc(tmp_path, scenario)


def test_all_other_calls_answer(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        stub = edge.stub
        span: dict[str, Any] = {"from_us": T0_US, "to_us": T0_US + 2_500_000}
        bars = messages.BarsRequest(
            exchange="binance", market="spot", symbol="BTCUSDT", interval="1s", **span
        )
        assert (await whole(stub.Bars(bars, metadata=AUTH)))[1]["trades"].to_pylist() == [500, 500, 250]
        joined = messages.AsOfJoinRequest(symbols=["BTCUSDT"], limit=5, **span)
        header, table, _ = await whole(stub.AsOfJoin(joined, metadata=AUTH))
        assert (table.num_rows, header.clock) == (5, predicate_pb2.CLOCK_RECEIVE)
        instruments = messages.ListInstrumentsRequest(symbols=["ETHUSDT"])
        assert (await whole(stub.ListInstruments(instruments, metadata=AUTH)))[1].num_rows == 1_250
        snapshots = await stub.ListSnapshots(messages.ListSnapshotsRequest(table="trades"), metadata=AUTH)
        assert [one.pinnable for one in snapshots.snapshots] == [True, False]
        cost = await stub.EstimateCost(messages.QueryRequest(table="trades"), metadata=AUTH)
        assert (cost.rows, cost.engine) == (10, "direct")
        mark = await stub.GetWatermark(messages.GetWatermarkRequest(table="trades"), metadata=AUTH)
        assert vectors.from_proto(mark.end) == {WHERE: 2_500}

    over_grpc(tmp_path, scenario)


def test_missing_ranges_are_named_and_never_exact(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.missing = (Missing(WHERE, 2_500, None, "TAIL_UNAVAILABLE"),)
        header, _, _ = await whole(edge.stub.Query(messages.QueryRequest(table="trades"), metadata=AUTH))
        assert not header.exact and header.reason
        (gone,) = header.tables[0].missing
        assert gone.end_unknown and (gone.from_offset, gone.reason) == (2_500, "TAIL_UNAVAILABLE")

    over_grpc(tmp_path, scenario)


async def refused(call) -> messages.Error:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    found = rpc_error(error.value)
    assert found is not None, error.value
    return found


QUERY = messages.QueryRequest


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("Query", QUERY(table="secrets"), "table"),
        ("Query", QUERY(table="trades", limit=-1), "limit"),
        ("Query", QUERY(table="trades", columns=["nonsense"]), "fields"),
        ("Query", QUERY(table="trades", engine="spark"), "engine"),
        ("Query", QUERY(table="trades", page_cursor="forged"), "page_cursor"),
        ("Query", QUERY(table="trades", consistency=messages.Consistency(at_cursor="forged")), "at"),
        (
            "Query",
            QUERY(table="trades", consistency=messages.Consistency(max_staleness_ms=-1)),
            "max_staleness_ms",
        ),
        (
            "Query",
            QUERY(
                table="trades",
                consistency=messages.Consistency(
                    min_offsets=offsets_pb2.OffsetVector(offsets=[offsets_pb2.PartitionOffset(offset=-1)])
                ),
            ),
            "min_offsets",
        ),
        ("Query", QUERY(table="trades", predicate=predicate_pb2.Predicate(from_us=5, to_us=3)), "start"),
        (
            "Query",
            QUERY(table="trades", predicate=predicate_pb2.Predicate(clock=predicate_pb2.Clock.ValueType(77))),
            "clock",
        ),
        ("Bars", messages.BarsRequest(exchange="binance", market="spot", interval="1m", to_us=1), "symbol"),
        (
            "Bars",
            messages.BarsRequest(exchange="binance", market="spot", symbol="X", interval="7m", to_us=1),
            "interval",
        ),
        (
            "Query",
            QUERY(table="trades", predicate=predicate_pb2.Predicate(symbols=["X' OR 1=1--"])),
            "symbols",
        ),
        ("AsOfJoin", messages.AsOfJoinRequest(symbols=["X", ""], from_us=1, to_us=2), "symbols"),
        (
            "Bars",
            messages.BarsRequest(exchange="binance", market="spot", symbol="X Y", interval="1m", to_us=1),
            "symbol",
        ),
        ("AsOfJoin", messages.AsOfJoinRequest(from_us=1, to_us=2), "symbols"),
        ("AsOfJoin", messages.AsOfJoinRequest(symbols=["X"], from_us=2, to_us=2), "start"),
        ("AsOfJoin", messages.AsOfJoinRequest(symbols=["X"], to_us=2, tolerance_us=-1), "tolerance_us"),
        ("ListSnapshots", messages.ListSnapshotsRequest(table="x"), "table"),
        ("GetWatermark", messages.GetWatermarkRequest(table=""), "table"),
        ("EstimateCost", QUERY(table="x"), "table"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_field(
    tmp_path: Path, method: str, request_: Message, field: str
):
    async def scenario(edge: Edge) -> None:
        error = await refused(getattr(edge.stub, method)(request_, metadata=AUTH))
        assert (error.code, error.field) == (messages.ERROR_CODE_INVALID, field), error
        assert error.message and error.correlation_id
        await until(edge.lines)
        (line,) = edge.lines()
        assert (line["status"], line["error"], line["caller"]) == (400, error.message, "reader")
        assert (line["correlation_id"], line["question"].split()[0]) == (error.correlation_id, method)

    over_grpc(tmp_path, scenario)


def test_each_error_has_its_code(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        for error, code in (
            (Invalid("start", "wrong"), messages.ERROR_CODE_INVALID),
            (NotFound("none"), messages.ERROR_CODE_NOT_FOUND),
            (Gone("shed_since"), messages.ERROR_CODE_GONE),
            (Stale("old"), messages.ERROR_CODE_STALE),
            (TooCostly("later", 1.5), messages.ERROR_CODE_TOO_COSTLY),
            (Unavailable("no pin"), messages.ERROR_CODE_UNAVAILABLE),
            (ZeroDivisionError("a secret"), messages.ERROR_CODE_INTERNAL),
        ):
            edge.gateway.error = error
            for call in (
                edge.stub.Query(QUERY(table="trades"), metadata=AUTH),
                edge.stub.GetWatermark(messages.GetWatermarkRequest(table="trades"), metadata=AUTH),
            ):
                found = await refused(call)
                assert found.code == code
                assert found.retry_after_ms == (1_500 if code == messages.ERROR_CODE_TOO_COSTLY else 0)
                assert "secret" not in found.message

    over_grpc(tmp_path, scenario)


def test_a_failure_in_the_middle_is_an_error_and_never_a_trailer(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.error, edge.gateway.error_after_rows = Unavailable("the files are gone"), 1_500
        got: list[str | None] = []
        with pytest.raises(grpc.aio.AioRpcError):
            got.extend(
                [
                    part.WhichOneof("part")
                    async for part in edge.stub.Query(QUERY(table="trades"), metadata=AUTH)
                ]
            )
        assert "trailer" not in got

    over_grpc(tmp_path, scenario)


def test_keys_and_roles_are_those_of_http(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        request = QUERY(table="trades")
        for metadata in ((), (("authorization", "Bearer x"),), (("x-api-key", "x"),)):
            error = await refused(edge.stub.Query(request, metadata=metadata))
            assert error.code == messages.ERROR_CODE_UNAUTHENTICATED
        error = await refused(edge.stub.Query(request, metadata=(("x-api-key", _OPERATOR),)))
        assert error.code == messages.ERROR_CODE_FORBIDDEN
        await whole(edge.stub.Query(request, metadata=(("x-api-key", _KEY),)))
        await until(lambda: len(edge.lines()) == 5)
        assert [line["status"] for line in edge.lines()] == [401, 401, 401, 403, 200]

    over_grpc(tmp_path, scenario)


def test_a_client_that_cancels_cancels_what_is_behind(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.stop_at_batch = 1
        call = edge.stub.Query(QUERY(table="trades"), metadata=AUTH)
        await call.read()
        assert len(edge.access.registry.running()) == 1
        call.cancel()
        await until(lambda: edge.gateway.closed and not edge.access.registry.running())
        assert edge.gateway.calls[0].cancelled.is_set()
        await until(lambda: edge.lines() and edge.lines()[-1]["status"] == 499)

    over_grpc(tmp_path, scenario)


def test_a_client_that_cancels_before_the_answer_cancels_it(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.open_gate = asyncio.Event()
        call = edge.stub.Query(QUERY(table="trades"), metadata=AUTH)
        waiting = asyncio.ensure_future(call.read())
        await until(lambda: edge.gateway.calls)
        call.cancel()
        await until(lambda: edge.gateway.calls[0].cancelled.is_set())
        with pytest.raises(asyncio.CancelledError):
            await waiting

    over_grpc(tmp_path, scenario)


def test_a_deadline_ends_the_wait(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.open_gate = asyncio.Event()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await edge.stub.GetWatermark(
                messages.GetWatermarkRequest(table="trades"), metadata=AUTH, timeout=0.2
            )
        assert error.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        await until(lambda: edge.gateway.calls[0].cancelled.is_set())

    over_grpc(tmp_path, scenario)


@pytest.mark.parametrize("begun", [False, True])
def test_an_operator_stops_a_call(tmp_path: Path, begun: bool):
    async def scenario(edge: Edge) -> None:
        if begun:
            edge.gateway.stop_at_batch = 1
        else:
            edge.gateway.open_gate = asyncio.Event()
        call = edge.stub.Query(QUERY(table="trades"), metadata=AUTH)
        reading = asyncio.ensure_future(refused(call))
        await until(lambda: edge.gateway.given_batches if begun else edge.gateway.calls)
        (running,) = edge.access.registry.running()
        assert edge.access.registry.cancel(running.query_id, "stopped by operator")
        error = await reading
        assert (error.code, error.message) == (messages.ERROR_CODE_CANCELLED, "stopped by operator")

    over_grpc(tmp_path, scenario)


def test_frames_are_small_whatever_the_batches(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.frames = {RecordKind.TRADES: rows(RecordKind.TRADES, 60_000)}
        edge.gateway.batch_rows = 60_000
        parts = [part async for part in edge.stub.Query(QUERY(table="trades"), metadata=AUTH)]
        sizes = [len(part.arrow) for part in parts if part.WhichOneof("part") == "arrow"]
        assert sum(sizes) > 5 * 1024**2 and max(sizes) < 1.3 * 1024**2

    over_grpc(tmp_path, scenario)


def test_a_client_that_does_not_read_is_given_up(tmp_path: Path):
    async def scenario(edge: Edge) -> None:
        edge.gateway.frames = {RecordKind.TRADES: rows(RecordKind.TRADES, 60_000)}
        call = edge.stub.Query(QUERY(table="trades"), metadata=AUTH)
        assert (await call.read()).WhichOneof("part") == "header"
        await until(lambda: edge.gateway.closed and not edge.access.registry.running())
        assert edge.gateway.given_batches < 60
        await until(lambda: edge.lines() and edge.lines()[-1]["status"] == 499)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            while (await call.read()) is not grpc.aio.EOF:
                pass

    over_grpc(tmp_path, scenario)
