"""Logs as JSON lines on standard error, each with the correlation id of what it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure(service: str, level: str) -> None:
    """Send all logging of the process to standard error, one JSON object a line.

    `level` is a name of the logging module: DEBUG, INFO, WARNING, ERROR. Call once, at start.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(handlers=[handler], level=level, force=True)


@contextmanager
def correlated(correlation_id: str) -> Iterator[None]:
    """Lines logged within, in this thread or task, carry `correlation_id`."""
    token = _correlation_id.set(correlation_id)
    try:
        yield
    finally:
        _correlation_id.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, service, logger, message, correlation_id.

    What is given as `extra` follows under its own names; the text of an exception under `exception`.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (correlation_id := _correlation_id.get()) is not None:
            line["correlation_id"] = correlation_id
        line |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
