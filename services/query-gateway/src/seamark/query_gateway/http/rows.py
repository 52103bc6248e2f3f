"""Routes for rows: trades, quotes, feed events, recent ones, and what they would cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from seamark.market.schema import RecordKind
from seamark.query_gateway.auth import Caller
from seamark.query_gateway.header import Estimate
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.openapi import ESTIMATE, answer_of, document_of
from seamark.query_gateway.http.parameters import (
    EstimateBody,
    EstimateQuery,
    RecentQuery,
    RowsBody,
    RowsQuery,
)
from seamark.query_gateway.http.questions import recent_question, rows_question
from seamark.query_gateway.http.url import documented, from_url
from seamark.query_gateway.running import Call

_TABLES = (
    ("trades", RecordKind.TRADES),
    ("quotes", RecordKind.QUOTES),
    ("feed-events", RecordKind.FEED_EVENTS),
)


def rows_routes(api: Api) -> APIRouter:
    """GET and POST of each table; the same question either way."""
    router = APIRouter(prefix="/v1", tags=["rows"])
    for path, kind in _TABLES:
        _add_rows(router, api, path, kind)
    for path, kind in _TABLES[:2]:
        _add_recent(router, api, path, kind)
    _add_estimate(router, api)
    return router


def _add_rows(router: APIRouter, api: Api, path: str, kind: RecordKind) -> None:
    def answered(request: Request, asked: RowsQuery) -> Response:
        return api.rows(request, asked, rows_question(kind, asked), asked.limit)

    summary = f"Rows of {kind.value} in the total order"
    responses = answer_of(kind.value)

    @router.get(f"/{path}", summary=summary, responses=responses, openapi_extra=documented(RowsQuery))
    async def get(request: Request, asked: Annotated[RowsQuery, from_url(RowsQuery)]) -> Response:
        return answered(request, asked)

    @router.post(f"/{path}", summary=summary, responses=responses)
    async def post(request: Request, asked: RowsBody) -> Response:
        return answered(request, asked)


def _add_recent(router: APIRouter, api: Api, path: str, kind: RecordKind) -> None:
    @router.get(
        f"/{path}/recent",
        summary=f"Newest rows of {kind.value}",
        responses=answer_of(kind.value),
        openapi_extra=documented(RecentQuery),
    )
    async def recent(request: Request, asked: Annotated[RecentQuery, from_url(RecentQuery)]) -> Response:
        question = recent_question(kind, asked, api.now_us())
        return api.rows(request, asked, question, asked.last, "last")


def _add_estimate(router: APIRouter, api: Api) -> None:
    async def estimated(request: Request, asked: EstimateQuery | EstimateBody) -> Response:
        question = rows_question(RecordKind(asked.table), asked)

        async def made(call: Call, caller: Caller) -> object:
            return _json(await api.gateway.estimate(question))

        return await api.document(request, made, text=asked.model_dump(exclude_unset=True))

    summary, responses = "What a question for rows would take", document_of(ESTIMATE)

    @router.get("/estimate", summary=summary, responses=responses, openapi_extra=documented(EstimateQuery))
    async def get(request: Request, asked: Annotated[EstimateQuery, from_url(EstimateQuery)]) -> Response:
        return await estimated(request, asked)

    @router.post("/estimate", summary=summary, responses=responses)
    async def post(request: Request, asked: EstimateBody) -> Response:
        return await estimated(request, asked)


def _json(estimate: Estimate) -> dict[str, object]:
    return asdict(estimate) | {"engine": estimate.engine.value}
