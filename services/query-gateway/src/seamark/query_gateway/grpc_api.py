"""The gRPC edge: MarketDataService, with the same keys, quotas, audit and errors as HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Never, TypeAlias, TypeVar

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from seamark.market.predicate import Clock, Predicate, PredicateInvalid
from seamark.market.schema import RecordKind
from seamark.query_gateway.access import SHOWN_CHARACTERS, Access, Asked, Visit
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.answers import AnswerLimits, Answers, Work, close, next_batch, opened
from seamark.query_gateway.arrow_stream import ArrowStream, pieces
from seamark.query_gateway.auth import Role, key_of
from seamark.query_gateway.errors import Invalid, QueryError, TooCostly
from seamark.query_gateway.grpc_messages import (
    as_of_question_of,
    bars_question_of,
    consistency_of,
    estimate_message,
    header_message,
    kind_of,
    question_of,
)
from seamark.query_gateway.handover import Handover
from seamark.query_gateway.question import Question, check_symbols
from seamark.query_gateway.refusals import refusal_of
from seamark.query_gateway.running import Call
from seamark.query_gateway.threads import done_by_rows
from seamark.rpc import vectors
from seamark.rpc.errors import abort, correlation_id
from seamark.rpc.server import deadline_seconds
from seamark.rpc.v1 import market_data_pb2 as messages
from seamark.rpc.v1 import market_data_pb2_grpc

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_Parts: TypeAlias = AsyncGenerator[messages.AnswerPart, None]
M = TypeVar("M", bound=Message)
SERVICE = "seamark.v1.MarketDataService"
_TRADE_COLUMNS = ("timestamp", "price", "quantity")
_QUOTE_COLUMNS = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")


class MarketDataService(market_data_pb2_grpc.MarketDataServiceServicer):
    """Answers over gRPC. A client that leaves cancels what is behind its call."""

    def __init__(self, gateway: Answers, access: Access, limits: AnswerLimits) -> None:
        self._gateway, self._access, self._limits = gateway, access, limits

    # The names are the protos'.

    async def Query(self, request: messages.QueryRequest, context: _Context) -> _Parts:
        def asked() -> Work:
            question = question_of(request, self._limits.export_rows)
            return Work(lambda call: self._gateway.query(question, call), (question,), question.limit)

        async with aclosing(self._answered(context, "Query", request, asked)) as parts:
            async for part in parts:
                yield part

    async def Bars(self, request: messages.BarsRequest, context: _Context) -> _Parts:
        def asked() -> Work:
            question = bars_question_of(request)
            predicate = Predicate((question.symbol,), Clock.EVENT, question.from_us, question.to_us)
            read = Question(RecordKind.TRADES, predicate, _TRADE_COLUMNS)
            return Work(lambda call: self._gateway.bars(question, call), (read,))

        async with aclosing(self._answered(context, "Bars", request, asked)) as parts:
            async for part in parts:
                yield part

    async def AsOfJoin(self, request: messages.AsOfJoinRequest, context: _Context) -> _Parts:
        def asked() -> Work:
            question = as_of_question_of(request)
            predicate = Predicate(question.symbols, question.clock, question.from_us, question.to_us)
            read = (
                Question(RecordKind.TRADES, predicate, _TRADE_COLUMNS),
                Question(RecordKind.QUOTES, predicate, _QUOTE_COLUMNS),
            )
            return Work(
                lambda call: self._gateway.as_of(question, call), read, most_rows=self._limits.join_rows
            )

        async with aclosing(self._answered(context, "AsOfJoin", request, asked)) as parts:
            async for part in parts:
                yield part

    async def ListInstruments(self, request: messages.ListInstrumentsRequest, context: _Context) -> _Parts:
        def asked() -> Work:
            symbols, consistency = check_symbols(request.symbols), consistency_of(request.consistency)
            read = Question(RecordKind.REFERENCE_DATA, Predicate(symbols))
            return Work(lambda call: self._gateway.instruments(symbols, consistency, call), (read,))

        async with aclosing(self._answered(context, "ListInstruments", request, asked)) as parts:
            async for part in parts:
                yield part

    async def ListSnapshots(
        self, request: messages.ListSnapshotsRequest, context: _Context
    ) -> messages.ListSnapshotsResponse:
        async def made(call: Call) -> messages.ListSnapshotsResponse:
            return messages.ListSnapshotsResponse(
                snapshots=[
                    messages.Snapshot(
                        snapshot_id=one.snapshot_id,
                        timestamp_ms=one.timestamp_ms,
                        operation=one.operation,
                        watermark=vectors.to_proto(one.watermark),
                        pinnable=one.pinnable,
                        reason=one.reason,
                    )
                    for one in await self._gateway.snapshots(kind_of(request.table))
                ]
            )

        return await self._made(context, "ListSnapshots", request, made)

    async def EstimateCost(self, request: messages.QueryRequest, context: _Context) -> messages.CostEstimate:
        async def made(call: Call) -> messages.CostEstimate:
            question = question_of(request, self._limits.export_rows)
            return estimate_message(await self._gateway.estimate(question))

        return await self._made(context, "EstimateCost", request, made)

    async def GetWatermark(
        self, request: messages.GetWatermarkRequest, context: _Context
    ) -> messages.GetWatermarkResponse:
        async def made(call: Call) -> messages.GetWatermarkResponse:
            found = await self._gateway.watermark(kind_of(request.table), call)
            return messages.GetWatermarkResponse(
                snapshot_id=found.table.snapshot_id or 0,
                watermark=vectors.to_proto(found.table.watermark),
                end=vectors.to_proto(found.table.end),
                freshness_ms=found.freshness_ms,
            )

        return await self._made(context, "GetWatermark", request, made)

    def _asked(self, context: _Context, endpoint: str, request: Message) -> Asked:
        """Raises Unauthenticated, Forbidden."""
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        caller = self._access.caller(key_of(metadata.get("authorization"), metadata.get("x-api-key")))
        caller.require(Role.READER)
        text = MessageToJson(request, indent=None, preserving_proto_field_name=True)
        timeout_seconds = deadline_seconds(context, self._limits.most_timeout_seconds) - time.monotonic()
        return Asked(
            "grpc",
            endpoint,
            caller,
            f"{endpoint} {text}"[:SHOWN_CHARACTERS],
            correlation_id(context),
            timeout_seconds,
        )

    async def _answered(
        self, context: _Context, endpoint: str, request: Message, asked: Callable[[], Work]
    ) -> _Parts:
        """Parts that a task of its own makes: a generator that is left alone at a yield ends anywhere, later."""
        try:
            who = self._asked(context, endpoint, request)
        except QueryError as error:
            await self._refuse(context, endpoint, error)
        call = asyncio.current_task()
        assert call is not None
        loop = asyncio.get_running_loop()
        seconds = self._limits.write_timeout_seconds
        handover: Handover[messages.AnswerPart] = Handover(seconds)
        making = asyncio.create_task(self._make(who, asked, handover))
        # A client that does not read is not told anything, either: then the call itself is cancelled.
        given_up: list[asyncio.TimerHandle] = []

        def made(task: asyncio.Task[int]) -> None:
            if not task.cancelled() and task.exception() is not None:
                given_up.append(loop.call_later(seconds, call.cancel))

        making.add_done_callback(made)
        try:
            while (part := await handover.take()) is not None:
                yield part
            self._count(endpoint, await making)
        except QueryError as error:
            await self._refuse(context, endpoint, error)
        finally:
            making.cancel()
            for timer in given_up:
                timer.cancel()

    async def _make(
        self, who: Asked, asked: Callable[[], Work], handover: Handover[messages.AnswerPart]
    ) -> int:
        """Header, one Arrow stream, trailer; gives the status."""
        try:
            async with self._access.visit(who) as visit:
                work = _valid(asked)  # within the visit: a question that makes no sense is audited, too
                await visit.admit(self._gateway, work)
                answer = await opened(work.open, visit.call)
                try:
                    async with aclosing(_parts(answer, visit)) as parts:
                        async for part in parts:
                            await handover.give(part)
                            visit.sent_bytes += len(part.arrow)
                finally:
                    await close(answer.batches)
            return visit.status
        finally:
            handover.end()

    async def _made(
        self, context: _Context, endpoint: str, request: Message, made: Callable[[Call], Awaitable[M]]
    ) -> M:
        try:
            async with self._access.visit(self._asked(context, endpoint, request)) as visit:
                visit.charge(1.0)
                message = await opened(made, visit.call)
        except QueryError as error:
            await self._refuse(context, endpoint, error)
        self._count(endpoint, visit.status)
        return message

    async def _refuse(self, context: _Context, endpoint: str, error: QueryError) -> Never:
        refusal = refusal_of(error)
        self._count(endpoint, refusal.http)
        if refusal.http in (401, 403):
            self._access.turned_away("grpc", endpoint, refusal.http, str(error), correlation_id(context))
        retry_seconds = error.retry_after_seconds if isinstance(error, TooCostly) else None
        await abort(
            context,
            messages.ErrorCode.Value(f"ERROR_CODE_{refusal.code}"),
            str(error),
            field=error.field,
            retry_after_ms=int((retry_seconds or 0) * 1000),
        )

    def _count(self, endpoint: str, status: int) -> None:
        self._access.metrics.requests.labels("grpc", endpoint, str(status)).inc()


def _valid(asked: Callable[[], Work]) -> Work:
    try:
        return asked()
    except PredicateInvalid as error:
        raise Invalid(error.field, str(error)) from error


async def _parts(answer: Answer, visit: Visit) -> _Parts:
    visit.begin(answer.header)
    yield messages.AnswerPart(header=header_message(answer.header))
    stream = ArrowStream(answer.schema)
    yield messages.AnswerPart(arrow=stream.head())
    while (batch := await next_batch(answer, visit.asked.timeout_seconds)) is not None:
        visit.rows += batch.num_rows
        for piece in pieces(batch):
            yield messages.AnswerPart(arrow=await done_by_rows(piece.num_rows, stream.rows, piece))
    yield messages.AnswerPart(arrow=stream.tail())
    yield messages.AnswerPart(trailer=messages.AnswerTrailer(rows=visit.rows, next_cursor=answer.next_cursor))
