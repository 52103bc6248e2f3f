"""The audit log: one JSON line for each answer or refusal, written beside the event loop, never on it."""

from __future__ import annotations

import logging
import logging.handlers
import queue
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson
from prometheus_client import Counter

MOST_WAITING = 10_000
"""Lines that may wait for the disk. Beyond that they are dropped and counted."""


class _Enqueue(logging.handlers.QueueHandler):
    def __init__(self, lines: queue.Queue[logging.LogRecord], dropped: Counter) -> None:
        super().__init__(lines)
        self._dropped = dropped

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped.inc()


class Audit:
    """Who asked what, and what came of it. A file that was moved away is opened anew (log rotation)."""

    def __init__(self, path: Path | None, dropped: Counter, most_waiting: int = MOST_WAITING) -> None:
        """`path` None: to the process's own log. Raises OSError: the file cannot be written."""
        target = _ToLog() if path is None else logging.handlers.WatchedFileHandler(path, encoding="utf-8")
        lines: queue.Queue[logging.LogRecord] = queue.Queue(most_waiting)
        self._target = target
        self._logger = logging.Logger("seamark.audit", logging.INFO)
        self._logger.addHandler(_Enqueue(lines, dropped))
        self._listener = logging.handlers.QueueListener(lines, target)
        self._listener.start()

    def write(self, line: Mapping[str, object]) -> None:
        """Add a line, with the time in front. Never blocks."""
        text = orjson.dumps({"time": datetime.now(UTC).isoformat(timespec="microseconds"), **line})
        self._logger.info("%s", text.decode())

    def close(self) -> None:
        """Write what waits, then close the file."""
        self._listener.stop()
        self._target.close()


class _ToLog(logging.Handler):
    _log = logging.getLogger("seamark.audit")

    def emit(self, record: logging.LogRecord) -> None:
        self._log.info("audit", extra={"audit": orjson.loads(record.getMessage())})
