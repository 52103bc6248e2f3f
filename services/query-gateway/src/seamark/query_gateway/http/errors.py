"""Errors as HTTP tells them: one form for all, whoever noticed."""

from __future__ import annotations

import logging
import math

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from seamark.query_gateway.errors import Invalid, QueryError, TooCostly
from seamark.query_gateway.refusals import INTERNAL, refusal_of

logger = logging.getLogger(__name__)

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}
_SHOWN_CHARACTERS = 128


class ErrorBody(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="What programs compare.", examples=["INVALID"])
    message: str = Field(description="What was wrong, and what is allowed.")
    field: str | None = Field(description="The part of the request that is at fault.", examples=["start"])
    correlation_id: str = Field(description="Find the request in logs by it.")


def correlation_id(request: Request) -> str:
    """As the front of the app has set it."""
    found: str = request.scope.get("state", {}).get("correlation_id", "")
    return found


def error_line(error: BaseException, correlation: str) -> bytes:
    """The error's JSON."""
    refusal = refusal_of(error)
    message = (
        str(error) if refusal is not INTERNAL else "a mistake of the server; its log has the correlation id"
    )
    field = error.field if isinstance(error, QueryError) else ""
    return _json(refusal.code, message, field, correlation)


def error_response(error: BaseException, correlation: str) -> Response:
    """The error's status, headers and JSON."""
    refusal = refusal_of(error)
    headers = {}
    if refusal.http == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooCostly) and error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    return Response(error_line(error, correlation), refusal.http, headers, "application/json")


async def on_query_error(request: Request, error: Exception) -> Response:
    _note(request, str(error))
    return error_response(error, correlation_id(request))


async def on_validation_error(request: Request, error: Exception) -> Response:
    """FastAPI's own findings, the first of them, as any other wrong request."""
    assert isinstance(error, RequestValidationError)
    invalid = invalid_of(error)
    _note(request, str(invalid))
    return error_response(invalid, correlation_id(request))


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router says: no such path, no such method, a body that is too large."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "INVALID")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The router knows only the first route of a path; the document knows them all.
        methods = request.app.openapi()["paths"][request.scope["route"].path]
        headers["allow"] = ", ".join(sorted(method.upper() for method in methods))
    _note(request, str(error.detail))
    body = _json(code, str(error.detail), "", correlation_id(request))
    return Response(body, error.status_code, headers, "application/json")


async def on_mistake(request: Request, error: Exception) -> Response:
    return error_response(error, correlation_id(request))


def _note(request: Request, reason: str) -> None:
    """For the front, which audits what came to no visit."""
    request.scope.setdefault("state", {})["refused"] = reason


def invalid_of(error: RequestValidationError) -> Invalid:
    detail = error.errors()[0]
    # The first part of the place says only whether it was the URL or the body.
    place = [str(part) for part in detail["loc"][1:]] or [str(detail["loc"][0])]
    field = ".".join(place)
    match detail["type"]:
        case "json_invalid":
            return Invalid(
                "body", f"body was no JSON: {detail['ctx']['error']} at character {detail['loc'][-1]}"
            )
        case "extra_forbidden":
            return Invalid(field, f"{field} is not a parameter here")
        case "missing":
            return Invalid(field, f"{field} was not given, must be")
        case "value_error":
            reason = str(detail["ctx"]["error"])
        case _:
            reason = f"must be: {detail['msg']}"
    return Invalid(field, f"{field} was {repr(detail['input'])[:_SHOWN_CHARACTERS]}, {reason}")


def _json(code: str, message: str, field: str, correlation: str) -> bytes:
    return orjson.dumps(
        {"code": code, "message": message, "field": field or None, "correlation_id": correlation}
    )
