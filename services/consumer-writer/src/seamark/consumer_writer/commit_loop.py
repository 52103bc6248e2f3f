"""Attempts a batch until it has landed, is fenced, or is given up by its owner.

Runs on the commit thread. After `alarm_after` attempts it raises the alarm and goes on: the
rows are held, the log keeps the rest, and reading pauses when the buffer is full.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from seamark.consumer_writer.batch import Batch
from seamark.consumer_writer.decide import Fenced, Landed
from seamark.consumer_writer.table_writer import TableWriter
from seamark.lake.errors import CatalogUnavailable, CommitConflict, CommitUnknown
from seamark.stream.errors import LogUnavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts: doubling from `first_seconds` to `longest_seconds`, with full jitter."""

    first_seconds: float = 0.05
    longest_seconds: float = 10.0
    alarm_after: int = 10

    def wait_seconds(self, failures: int) -> float:
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures, 30))
        return random.uniform(longest / 2, longest)


class Outcome(Enum):
    """How a batch ended."""

    LANDED = "landed"
    FENCED = "fenced"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Ended:
    """A batch's end."""

    batch: Batch
    outcome: Outcome
    attempts: int
    seconds: float
    detail: str = ""


def commit_until_ended(
    table: TableWriter,
    batch: Batch,
    policy: RetryPolicy,
    abandoned: threading.Event,
    on_attempt: Callable[[str, float], None],
) -> Ended:
    """Attempt `batch` until it ends. `on_attempt(result, seconds)` is told of every attempt.

    Raises:
        Stopped: only an operator can say how to go on.
    """
    began = time.monotonic()
    failures = 0
    while not abandoned.is_set():
        attempt_began = time.monotonic()
        try:
            attempt = table.prepare(batch, time.time_ns() // 1_000_000)
            if isinstance(attempt, Landed):
                on_attempt("found_landed", time.monotonic() - attempt_began)
                return Ended(batch, Outcome.LANDED, failures + 1, time.monotonic() - began)
            if isinstance(attempt, Fenced):
                on_attempt("fenced", time.monotonic() - attempt_began)
                return Ended(batch, Outcome.FENCED, failures + 1, time.monotonic() - began, attempt.reason)
            table.send(attempt)
        except (CommitConflict, CommitUnknown, CatalogUnavailable, LogUnavailable) as error:
            failures += 1
            on_attempt(type(error).__name__, time.monotonic() - attempt_began)
            level = logging.ERROR if failures >= policy.alarm_after else logging.WARNING
            logger.log(
                level,
                "commit attempt failed",
                extra={
                    "table": table.kind.value,
                    "batch_id": batch.batch_id,
                    "attempt": failures,
                    "error": f"{type(error).__name__}: {error}",
                },
            )
            abandoned.wait(policy.wait_seconds(failures - 1))
        else:
            on_attempt("committed", time.monotonic() - attempt_began)
            return Ended(batch, Outcome.LANDED, failures + 1, time.monotonic() - began)
    return Ended(batch, Outcome.ABANDONED, failures, time.monotonic() - began)
