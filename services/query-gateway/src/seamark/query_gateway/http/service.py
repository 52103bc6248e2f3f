"""Routes about the service itself: snapshots, watermarks, running requests, health, metrics."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import PlainTextResponse, Response

from seamark.market.schema import RecordKind
from seamark.query_gateway.auth import Caller, Role
from seamark.query_gateway.errors import NotFound, QueryError
from seamark.query_gateway.header import SnapshotInfo, table_json, vector_json
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.openapi import CANCELLED, QUERIES, READY, SNAPSHOTS, WATERMARK, document_of
from seamark.query_gateway.http.parameters import TableName
from seamark.query_gateway.running import Call

READY_SECONDS = 2.0
"""How long readiness waits for the tail and the catalog to speak."""
Table = Annotated[TableName, Path(description="The table's name.")]


def lake_routes(api: Api) -> APIRouter:
    """Where tables stand."""
    router = APIRouter(prefix="/v1", tags=["lake"])

    @router.get(
        "/snapshots/{table}", summary="Snapshots of a table, newest first", responses=document_of(SNAPSHOTS)
    )
    async def snapshots(request: Request, table: Table) -> Response:
        async def made(call: Call, caller: Caller) -> object:
            return {"snapshots": [_snapshot(one) for one in await api.gateway.snapshots(RecordKind(table))]}

        return await api.document(request, made)

    @router.get(
        "/watermark/{table}",
        summary="Where stream and lake of a table stand",
        responses=document_of(WATERMARK),
    )
    async def watermark(request: Request, table: Table) -> Response:
        async def made(call: Call, caller: Caller) -> object:
            found = await api.gateway.watermark(RecordKind(table), call)
            return {"table": table, "freshness_ms": found.freshness_ms, "header": table_json(found.table)}

        return await api.document(request, made)

    return router


def query_routes(api: Api) -> APIRouter:
    """Requests that are being answered: one's own, an operator's all."""
    router = APIRouter(prefix="/v1", tags=["queries"])
    registry = api.access.registry

    def visible(caller: Caller, owner: str) -> bool:
        return owner == caller.name or Role.OPERATOR in caller.roles

    @router.get("/queries", summary="Running queries", responses=document_of(QUERIES))
    async def queries(request: Request) -> Response:
        async def made(call: Call, caller: Caller) -> object:
            now = time.monotonic()
            return {
                "queries": [
                    {
                        "query_id": one.query_id,
                        "caller": one.caller,
                        "question": one.text,
                        "seconds": round(now - one.began_at, 3),
                        "rows": one.rows,
                    }
                    for one in registry.running()
                    if visible(caller, one.caller) and one.query_id != call.query_id
                ]
            }

        return await api.document(request, made, Role.READER, Role.OPERATOR, units=0)

    @router.delete("/queries/{query_id}", summary="Stop a running query", responses=document_of(CANCELLED))
    async def cancel(
        request: Request,
        query_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="From its header.")],
    ) -> Response:
        async def made(call: Call, caller: Caller) -> object:
            owner = next((one.caller for one in registry.running() if one.query_id == query_id), None)
            if owner is None or not visible(caller, owner) or query_id == call.query_id:
                raise NotFound(f"query {query_id} is not running", "query_id")
            registry.cancel(query_id, f"stopped by {caller.name}")
            return {"cancelled": query_id}

        return await api.document(
            request, made, Role.READER, Role.OPERATOR, text={"query_id": query_id}, units=0
        )

    return router


def health_routes(api: Api, metrics: CollectorRegistry) -> APIRouter:
    """For whoever runs the service; without a key."""
    router = APIRouter(tags=["health"])
    auth = "off" if api.access.keys is None else "on"

    @router.get("/healthz", summary="The process is alive", response_class=PlainTextResponse)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @router.get("/readyz", summary="Questions can be answered", responses=document_of(READY))
    async def readyz() -> Response:
        reason = "stopping" if api.stopping() else None
        try:
            if reason is None:
                call = Call("readyz", "readyz", "readyz", time.monotonic() + READY_SECONDS)
                async with asyncio.timeout(READY_SECONDS):
                    for kind in (RecordKind.TRADES, RecordKind.QUOTES):
                        await api.gateway.watermark(kind, call)
        except TimeoutError:
            reason = f"no answer within {READY_SECONDS:g} s"
        except QueryError as error:
            reason = str(error)
        body = orjson.dumps({"ready": reason is None, "auth": auth, "reason": reason})
        return Response(body, 200 if reason is None else 503, media_type="application/json")

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
    async def exposed() -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return router


def _snapshot(one: SnapshotInfo) -> dict[str, object]:
    moment = datetime.fromtimestamp(one.timestamp_ms / 1000, UTC)
    return {
        "snapshot_id": one.snapshot_id,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "operation": one.operation,
        "H": vector_json(one.watermark),
        "pinnable": one.pinnable,
        "reason": one.reason or None,
    }
