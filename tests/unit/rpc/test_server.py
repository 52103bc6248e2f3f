"""A server that runs on loopback: what a caller is told when it goes well and when it does not."""

import asyncio
import inspect
import io
import json
import logging
import time
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from seamark.rpc.client import MOST_ANSWER_BYTES, correlated, open_channel
from seamark.rpc.errors import STATUS, abort, correlation_id, rpc_error
from seamark.rpc.frames import decode, encode
from seamark.rpc.server import MOST_REQUEST_BYTES, deadline_seconds, serve
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.telemetry.logs import JsonLines

NAME = "seamark.v1.TailService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LARGE = MOST_ANSWER_BYTES - 100
TABLE = pa.table({"n": range(100_000)})
logger = logging.getLogger(__name__)


class Tail(tail_pb2_grpc.TailServiceServicer):
    """Does what the request's table names."""

    def __init__(self):
        self.left = asyncio.Event()
        self.deadline_seconds = 0.0

    async def GetWatermarks(self, request, context):
        match request.table:
            case "slow":
                await self._wait()
            case "defect":
                raise RuntimeError("the secret is 42")
            case "large":
                return tail_pb2.GetWatermarksResponse(epoch="x" * LARGE)
            case "too large":
                return tail_pb2.GetWatermarksResponse(epoch="x" * MOST_ANSWER_BYTES)
            case "deadline":
                self.deadline_seconds = deadline_seconds(context, 100.0)
            case "trades":
                logger.warning("asked")
            case name:
                code = market_data_pb2.ErrorCode.Value(name)
                await abort(context, code, "x" * 10_000, field="f" * 1_000, retry_after_ms=7)
        return tail_pb2.GetWatermarksResponse(epoch=correlation_id(context))

    async def ReadRanges(self, request, context):
        yield tail_pb2.ReadRangesResponse(header=tail_pb2.ReadHeader(epoch=correlation_id(context)))
        match request.table:
            case "slow":
                await self._wait()
            case "defect":
                raise RuntimeError("the secret is 42")
            case "refused":
                message = "table was 'refused', must be trades: größer"
                await abort(context, market_data_pb2.ERROR_CODE_INVALID, message, field="table")
        for frame in encode(TABLE.schema, TABLE.to_batches()):
            logger.warning("sent")
            yield tail_pb2.ReadRangesResponse(arrow=frame)
        yield tail_pb2.ReadRangesResponse(trailer=tail_pb2.ReadTrailer(rows=len(TABLE)))

    async def _wait(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


class Running:
    """A server, and a channel to it."""

    def __init__(self, tail, server, channel):
        self.tail, self.server, self.channel = tail, server, channel
        self.stub = tail_pb2_grpc.TailServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    async def watermarks(self, table, **options):
        return await self.stub.GetWatermarks(
            tail_pb2.GetWatermarksRequest(table=table), **{"timeout": 10, **options}
        )

    def ranges(self, table, **options):
        return self.stub.ReadRanges(tail_pb2.ReadRangesRequest(table=table), **{"timeout": 10, **options})

    async def status(self, service=""):
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        return answer.status


@asynccontextmanager
async def running():
    tail = Tail()
    add = partial(tail_pb2_grpc.add_TailServiceServicer_to_server, tail)
    server = await serve("127.0.0.1:0", {NAME: add})
    try:
        async with open_channel(f"127.0.0.1:{server.port}") as channel:
            yield Running(tail, server, channel)
    finally:
        await server.stop(0)


def on_loopback(test):
    """Runs the test with a server of its own as its first argument."""

    def run(**fixtures):
        async def whole():
            async with asyncio.timeout(30), running() as it:
                await test(it, **fixtures)

        asyncio.run(whole())

    signature = inspect.signature(test)
    fixtures = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
    return run


@pytest.fixture
def logged():
    """All lines that are logged, as they are written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("test"))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


async def failure(call):
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            _ = [message async for message in call]
        else:
            await call
    return failed.value


@on_loopback
async def test_rows_come_as_they_were(it):
    messages = [message async for message in it.ranges("trades")]
    kinds = [message.WhichOneof("part") for message in messages]
    assert kinds == ["header", *["arrow"] * (len(messages) - 2), "trailer"]
    frames = [message.arrow for message in messages[1:-1]]
    assert pa.Table.from_batches(decode(frames)).equals(TABLE)


@pytest.mark.parametrize("method", [Running.watermarks, Running.ranges])
@on_loopback
async def test_a_call_ends_at_its_deadline_and_so_does_the_servers_work(it, method):
    while not it.tail.left.is_set():  # on a slow machine the first may end before it has arrived
        error = await failure(method(it, "slow", timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert rpc_error(error) is None


@on_loopback
async def test_a_caller_that_leaves_ends_the_servers_work(it):
    call = it.ranges("slow")
    assert (await call.read()).WhichOneof("part") == "header"
    call.cancel()
    await it.tail.left.wait()


@on_loopback
async def test_a_deadline_is_the_callers_but_not_later_than_the_services(it):
    await it.watermarks("deadline", timeout=20)
    rounded_seconds = 1  # on the wire a timeout has few digits
    assert 0 < it.tail.deadline_seconds - time.monotonic() <= 20 + rounded_seconds
    await it.watermarks("deadline", timeout=None)
    assert 20 + rounded_seconds < it.tail.deadline_seconds - time.monotonic() <= 100


@on_loopback
async def test_a_request_that_is_too_large_is_refused(it):
    error = await failure(it.watermarks("x" * MOST_REQUEST_BYTES))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in error.details()
    assert (await it.watermarks("trades")).epoch


@on_loopback
async def test_an_answer_that_is_too_large_is_not_sent(it):
    assert len((await it.watermarks("large")).epoch) == LARGE
    error = await failure(it.watermarks("too large"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Sent message larger than max" in error.details()


def test_an_answer_that_is_too_large_is_not_taken():
    async def whole():
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        tail_pb2_grpc.add_TailServiceServicer_to_server(Tail(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asyncio.timeout(30), open_channel(f"127.0.0.1:{port}") as channel:
            stub = tail_pb2_grpc.TailServiceStub(channel)
            error = await failure(stub.GetWatermarks(tail_pb2.GetWatermarksRequest(table="too large")))
        await server.stop(0)
        return error

    error = asyncio.run(whole())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in error.details()


@on_loopback
async def test_health_is_what_the_service_says(it):
    assert {await it.status(), await it.status(NAME)} == {NOT_SERVING}
    await it.server.set_ready(True)
    assert {await it.status(), await it.status(NAME)} == {SERVING}
    await it.server.set_ready(False)
    assert {await it.status(), await it.status(NAME)} == {NOT_SERVING}
    assert (await failure(it.status("other"))).code() is grpc.StatusCode.NOT_FOUND


@on_loopback
async def test_a_watcher_sees_a_server_stop_before_it_is_gone(it):
    await it.server.set_ready(True)
    watch = it.health.Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert (await watch.read()).status == SERVING
    stopped = asyncio.create_task(it.server.stop(0.2))
    assert (await watch.read()).status == NOT_SERVING
    await stopped
    assert (await failure(it.watermarks("trades"))).code() is grpc.StatusCode.UNAVAILABLE


@on_loopback
async def test_reflection_tells_the_services_and_their_messages(it):
    stub = reflection_pb2_grpc.ServerReflectionStub(it.channel)

    async def ask(**asked):
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**asked)]), timeout=10)
        return await call.read()

    listed = (await ask(list_services="")).list_services_response.service
    assert {one.name for one in listed} == {
        NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    described = (await ask(file_containing_symbol=NAME)).file_descriptor_response.file_descriptor_proto
    assert tail_pb2.DESCRIPTOR.serialized_pb in described


def test_each_code_has_its_own_status():
    assert set(STATUS) == set(market_data_pb2.ErrorCode.values())
    assert len(set(STATUS.values())) == len(STATUS)
    assert grpc.StatusCode.OK not in STATUS.values()


@pytest.mark.parametrize("name", market_data_pb2.ErrorCode.keys())
@on_loopback
async def test_an_error_comes_back_as_it_was_however_long(it, name):
    failed = await failure(it.watermarks(name, metadata=correlated("id-1")))
    code = market_data_pb2.ErrorCode.Value(name)
    assert failed.code() is STATUS[code]
    error = rpc_error(failed)
    assert error == market_data_pb2.Error(
        code=code,
        message="x" * 499 + "…",
        field="f" * 99 + "…",
        retry_after_ms=7,
        correlation_id="id-1",
    )
    assert failed.details() == error.message


@on_loopback
async def test_an_error_behind_rows_comes_back_as_it_was(it):
    failed = await failure(it.ranges("refused", metadata=correlated("id-2")))
    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert rpc_error(failed) == market_data_pb2.Error(
        code=market_data_pb2.ERROR_CODE_INVALID,
        message="table was 'refused', must be trades: größer",
        field="table",
        correlation_id="id-2",
    )


@on_loopback
async def test_a_defect_is_logged_and_not_told(it, logged):
    for call in (it.watermarks("defect"), it.ranges("defect")):
        failed = await failure(call)
        assert failed.code() is grpc.StatusCode.INTERNAL
        error = rpc_error(failed)
        assert error.code == market_data_pb2.ERROR_CODE_INTERNAL
        assert "secret" not in str(failed)
        line = next(line for line in logged() if line.get("correlation_id") == error.correlation_id)
        assert "the secret is 42" in line["exception"]


@on_loopback
async def test_a_call_keeps_the_callers_id_and_its_log_lines_carry_it(it, logged):
    assert (await it.watermarks("trades", metadata=correlated("mine"))).epoch == "mine"
    assert [message async for message in it.ranges("trades", metadata=correlated("too"))]
    found = [(line["message"], line.get("correlation_id")) for line in logged() if line["logger"] == __name__]
    assert found == [("asked", "mine"), *[("sent", "too")] * (len(found) - 1)]
    assert len(found) > 1


@on_loopback
async def test_a_call_without_an_id_gets_one_and_is_told_it(it):
    ids = set()
    for given in ((), correlated("x" * 129), correlated("a b")):
        call = it.stub.GetWatermarks(tail_pb2.GetWatermarksRequest(table="trades"), metadata=given)
        ids.add((await call).epoch)
        assert dict(await call.trailing_metadata())["x-correlation-id"] in ids
    assert len(ids) == 3
    assert all(len(one) == 32 for one in ids)


@on_loopback
async def test_a_port_that_is_taken_is_an_error(it):
    with pytest.raises(OSError, match=f"address was 127.0.0.1:{it.server.port}, must be free"):
        await serve(f"127.0.0.1:{it.server.port}", {})


@on_loopback
async def test_a_service_that_is_in_no_proto_is_refused(it):
    with pytest.raises(KeyError, match="Nonsense"):
        await serve("127.0.0.1:0", {"seamark.v1.Nonsense": lambda server: None})


def test_an_error_that_cannot_be_read_is_none():
    failed = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("seamark-error-bin", b"\xff\xff")),
    )
    assert rpc_error(failed) is None
