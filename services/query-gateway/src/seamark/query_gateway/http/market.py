"""Routes for what is made of rows: bars, aggregates, trades with quotes, instruments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.answers import Work
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.http.aggregate import BARS_OF_A_RANGE, aggregated
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.openapi import SYMBOL_FIELDS, answer_of
from seamark.query_gateway.http.parameters import (
    AggregateQuery,
    AsOfQuery,
    BarsQuery,
    InstrumentsQuery,
    RangeQuery,
)
from seamark.query_gateway.http.projection import projected
from seamark.query_gateway.http.questions import clock_of, consistency_of, invalid_by_name
from seamark.query_gateway.http.url import documented, from_url
from seamark.query_gateway.question import AsOfQuestion, BarsQuestion, Question
from seamark.query_gateway.running import Call

_BAR_FIELDS = ("timestamp", "price", "quantity")
_QUOTE_FIELDS = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")


def market_routes(api: Api) -> APIRouter:
    """GET only: their questions are short."""
    router = APIRouter(prefix="/v1", tags=["market"])

    @router.get(
        "/bars",
        summary="Open, high, low, close, volume, VWAP by interval",
        responses=answer_of("bars"),
        openapi_extra=documented(BarsQuery),
    )
    async def bars(request: Request, asked: Annotated[BarsQuery, from_url(BarsQuery)]) -> Response:
        question = _bars_question(asked, asked.interval)
        work = Work(lambda call: api.gateway.bars(question, call), (_trades_of(question),))
        return api.answer(request, asked, work)

    @router.get(
        "/aggregate",
        summary="One row over the whole range",
        responses=answer_of("aggregate"),
        openapi_extra=documented(AggregateQuery),
    )
    async def aggregate(
        request: Request, asked: Annotated[AggregateQuery, from_url(AggregateQuery)]
    ) -> Response:
        question = _bars_question(asked, BARS_OF_A_RANGE)

        async def opened(call: Call) -> Answer:
            return await aggregated(
                await api.gateway.bars(question, call), asked.start, asked.end, asked.functions
            )

        return api.answer(request, asked, Work(opened, (_trades_of(question),)))

    @router.get(
        "/asof",
        summary="Each trade with the quote that stood",
        responses=answer_of("as_of"),
        openapi_extra=documented(AsOfQuery),
    )
    async def as_of(request: Request, asked: Annotated[AsOfQuery, from_url(AsOfQuery)]) -> Response:
        if asked.start >= asked.end:
            raise Invalid(
                "start", f"start was {asked.start}, must be before end, which was {asked.end} (microseconds)"
            )
        question = AsOfQuestion(
            tuple(dict.fromkeys(asked.symbols)),
            asked.start,
            asked.end,
            clock_of(asked.clock),
            asked.tolerance_us,
            asked.allow_receive_time,
            asked.limit or 0,
            consistency_of(asked),
        )
        predicate = Predicate(question.symbols, question.clock, question.from_us, question.to_us)
        estimated = (
            Question(RecordKind.TRADES, predicate, _BAR_FIELDS),
            Question(RecordKind.QUOTES, predicate, _QUOTE_FIELDS),
        )
        # Quotes of the whole range are read whatever the limit is, and joined in memory.
        work = Work(lambda call: api.gateway.as_of(question, call), estimated, most_rows=api.limits.join_rows)
        return api.answer(request, asked, work)

    @router.get(
        "/instruments",
        summary="Current state of instruments",
        responses=answer_of("reference_data"),
        openapi_extra=documented(InstrumentsQuery),
    )
    async def instruments(
        request: Request, asked: Annotated[InstrumentsQuery, from_url(InstrumentsQuery)]
    ) -> Response:
        symbols, consistency = tuple(dict.fromkeys(asked.symbols)), consistency_of(asked)
        work = Work(lambda call: api.gateway.instruments(symbols, consistency, call), (_INSTRUMENTS,))
        return api.answer(request, asked, work)

    @router.get(
        "/symbols",
        summary="Which symbols there are",
        responses=answer_of("symbols"),
        openapi_extra=documented(InstrumentsQuery),
    )
    async def symbols(
        request: Request, asked: Annotated[InstrumentsQuery, from_url(InstrumentsQuery)]
    ) -> Response:
        wanted, consistency = tuple(dict.fromkeys(asked.symbols)), consistency_of(asked)

        async def opened(call: Call) -> Answer:
            return projected(await api.gateway.instruments(wanted, consistency, call), SYMBOL_FIELDS)

        return api.answer(request, asked, Work(opened, (_INSTRUMENTS,)))

    return router


def _bars_question(asked: RangeQuery, interval: str) -> BarsQuestion:
    return BarsQuestion(
        asked.exchange, asked.market, asked.symbol, asked.start, asked.end, interval, consistency_of(asked)
    )


_INSTRUMENTS = Question(RecordKind.REFERENCE_DATA, columns=SYMBOL_FIELDS)


def _trades_of(question: BarsQuestion) -> Question:
    """What is read for bars."""
    with invalid_by_name():
        predicate = Predicate((question.symbol,), Clock.EVENT, question.from_us, question.to_us)
    return Question(RecordKind.TRADES, predicate, _BAR_FIELDS)
