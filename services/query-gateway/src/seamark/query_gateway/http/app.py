"""The HTTP application: routes, errors, documentation."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from seamark.query_gateway.errors import QueryError
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.errors import on_http_error, on_mistake, on_query_error, on_validation_error
from seamark.query_gateway.http.front import Front
from seamark.query_gateway.http.market import market_routes
from seamark.query_gateway.http.openapi import completed
from seamark.query_gateway.http.rows import rows_routes
from seamark.query_gateway.http.service import health_routes, lake_routes, query_routes

_DESCRIPTION = """\
Exact answers from stream and lake together. Ranges of time are half-open: start is in, end is not. Every answer
says of itself what it is made of, and gives a cursor that returns the same rows whenever it is asked again.
"""


def create_app(api: Api, metrics: CollectorRegistry, body_bytes: int) -> FastAPI:
    """`metrics`: what /metrics shows. `body_bytes`: most bytes of a request's body."""
    app = FastAPI(
        title="Seamark",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for routes in (rows_routes(api), market_routes(api), lake_routes(api), query_routes(api)):
        app.include_router(routes)
    app.include_router(health_routes(api, metrics))
    app.add_exception_handler(QueryError, on_query_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_mistake)
    app.add_middleware(Front, access=api.access, body_bytes=body_bytes)
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(made())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
