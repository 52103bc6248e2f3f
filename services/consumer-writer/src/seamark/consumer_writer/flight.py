"""Batches on their way into their tables: the one commit thread, what is on it, and what is told of each end.

Knows of a batch when it was begun and how it ended. Must not know when one is begun, nor what becomes of
partitions whose batch did not land.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from seamark.consumer_writer.commit_loop import Ended, Outcome, RetryPolicy, commit_until_ended
from seamark.consumer_writer.table_writer import TableWriter
from seamark.stream.log import TopicPartition
from seamark.telemetry.metrics import WriterMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch on the commit thread."""

    partitions: frozenset[TopicPartition]
    bytes: int
    _future: Future[Ended]
    _abandoned: threading.Event

    def ended(self, seconds: float = 0.0) -> Ended | None:
        """How it ended, if it does so within the time.

        Raises:
            Stopped: only an operator can say how to go on.
        """
        wait((self._future,), seconds)
        return self._future.result() if self._future.done() else None

    def abandon(self) -> None:
        """Give it up whole; an attempt of it in the air may still land."""
        self._abandoned.set()


class CommitThread:
    """Sorts, uploads and commits, one batch after another."""

    def __init__(self, retry: RetryPolicy, metrics: WriterMetrics) -> None:
        self._retry = retry
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, "commit")

    def begin(self, table: TableWriter) -> Flight | None:
        """Seal what the table has buffered and send it on its way; None: there is nothing."""
        batch = table.seal()
        if batch is None:
            return None
        abandoned = threading.Event()
        name = table.kind.value
        future = self._thread.submit(
            commit_until_ended,
            table,
            batch,
            self._retry,
            abandoned,
            lambda result, seconds: self._metrics.commit_attempts.labels(name, result).inc(),
        )
        return Flight(frozenset(table.assigned), batch.size_bytes, future, abandoned)

    def tell(self, name: str, ended: Ended) -> None:
        """Count and log how a batch of table `name` ended."""
        if ended.outcome is Outcome.FENCED:
            self._metrics.fenced.labels(name).inc()
            logger.warning(
                "fenced", extra={"table": name, "batch_id": ended.batch.batch_id, "reason": ended.detail}
            )
        if ended.outcome is not Outcome.LANDED:
            return
        self._metrics.commits.labels(name).inc()
        self._metrics.commit_seconds.labels(name).observe(ended.seconds)
        for where, range_ in ended.batch.ranges.items():
            self._metrics.rows_written.labels(name).inc(range_.counters.written)
            self._metrics.duplicates.labels(name).inc(range_.counters.duplicate)
            self._metrics.dead_letters.labels(name).inc(range_.counters.dlq)
            self._metrics.checkpoint_offset.labels(name, str(where.stream_id), str(where.partition)).set(
                range_.next
            )
        logger.info(
            "committed",
            extra={
                "table": name,
                "batch_id": ended.batch.batch_id,
                "rows": ended.batch.written,
                "attempts": ended.attempts,
                "seconds": round(ended.seconds, 3),
            },
        )

    def close(self) -> None:
        """Returns when the attempt on its way has ended; what waits behind it is not begun."""
        self._thread.shutdown(wait=True, cancel_futures=True)
