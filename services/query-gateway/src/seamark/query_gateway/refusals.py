"""How each error is told: one code, one HTTP status, one code of the protos."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from seamark.query_gateway.errors import (
    Cancelled,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    QueryError,
    Stale,
    TooCostly,
    Unauthenticated,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is what programs compare: a name of the proto's ErrorCode, without its prefix."""

    code: str
    http: int


INTERNAL = Refusal("INTERNAL", 500)
_CANCELLED = Refusal("CANCELLED", 499)
_REFUSALS: dict[type[QueryError], Refusal] = {
    Invalid: Refusal("INVALID", 400),
    Unauthenticated: Refusal("UNAUTHENTICATED", 401),
    Forbidden: Refusal("FORBIDDEN", 403),
    NotFound: Refusal("NOT_FOUND", 404),
    Gone: Refusal("GONE", 410),
    Stale: Refusal("STALE", 412),
    TooCostly: Refusal("TOO_COSTLY", 429),
    Cancelled: _CANCELLED,
    Unavailable: Refusal("UNAVAILABLE", 503),
}


def refusal_of(error: BaseException) -> Refusal:
    """INTERNAL for what is not a QueryError: a mistake of ours."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return _CANCELLED
    return next((_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS), INTERNAL)
