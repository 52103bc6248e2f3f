"""Why there is no answer. Each becomes one HTTP status and one gRPC code, at the edge."""

from __future__ import annotations


class QueryError(Exception):
    """Base. `field` names the part of the request that is at fault, or is empty."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Invalid(QueryError):
    """The question itself is wrong (400)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field)


class TooCostly(QueryError):
    """Over a quota, a budget or a cap (429). `retry_after_seconds`: None where waiting does not help."""

    def __init__(self, message: str, retry_after_seconds: float | None = None, field: str = "") -> None:
        super().__init__(message, field)
        self.retry_after_seconds = retry_after_seconds


class Stale(QueryError):
    """The freshness asked for was not reached (412)."""


class Gone(QueryError):
    """These rows cannot be given any more (410)."""


class Unavailable(QueryError):
    """Nothing truthful can be said now (503)."""


class NotFound(QueryError):
    """There is no such thing (404)."""


class Cancelled(QueryError):
    """Stopped by its caller or by an operator (499)."""


class Unauthenticated(QueryError):
    """Nobody that is known has asked (401)."""


class Forbidden(QueryError):
    """Not for this caller (403)."""
