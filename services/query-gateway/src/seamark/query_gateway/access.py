"""What every request passes, by whichever edge it came: key, quota, register, audit, metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from seamark.query_gateway.answers import Answers, Work
from seamark.query_gateway.audit import Audit
from seamark.query_gateway.auth import LOCAL, Caller, Keys
from seamark.query_gateway.errors import QueryError, TooCostly, Unauthenticated
from seamark.query_gateway.header import AnswerHeader
from seamark.query_gateway.quotas import Quotas
from seamark.query_gateway.refusals import refusal_of
from seamark.query_gateway.running import Call, Registry
from seamark.telemetry.logs import correlated
from seamark.telemetry.metrics import GatewayMetrics

SHOWN_CHARACTERS = 2_000
"""Of a question, in the register and in the audit."""
PAGE_READS_ROWS = 50_000
"""Rows that are read for a page beyond its own: history is read window by window."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is registered, measured and audited."""

    edge: str
    """http or grpc."""
    endpoint: str
    caller: Caller
    text: str
    """The question, readable."""
    correlation_id: str
    timeout_seconds: float


@dataclass(slots=True, eq=False)
class Visit:
    """One request from its admission to its last byte; whoever answers it fills this in."""

    asked: Asked
    call: Call
    access: Access
    began_at: float
    status: int = 200
    header: AnswerHeader | None = None
    rows: int = 0
    sent_bytes: int = 0
    charged: float = 0.0
    beginning: bool = False
    """Counted among the answers without a header."""

    async def admit(self, gateway: Answers, work: Work) -> None:
        """Take a place, and the estimated cost off the caller's quota, before the work.

        Raises:
            TooCostly: no place is free, the quota does not have it, or it is more than any answer may take.
        """
        self.access.quotas.begin()
        self.beginning = True
        quota = self.asked.caller.quota
        if quota is None and not work.most_rows:
            return
        estimates = [await gateway.estimate(question) for question in work.read]
        rows = sum(estimate.rows for estimate in estimates)
        if work.most_rows and rows > work.most_rows:
            raise TooCostly(
                f"rows would be up to {rows}, must be at most {work.most_rows}: ask for a shorter range, or for "
                "pages where there are any (limit)",
                field="start",
            )
        units = 0.0
        for estimate in estimates:
            read_rows = min(work.limit + PAGE_READS_ROWS, estimate.rows) if work.limit else estimate.rows
            units += 1 + (estimate.cost - 1) * read_rows / max(1, estimate.rows)
        self.charge(units)

    def charge(self, units: float) -> None:
        """Raises TooCostly: the caller's quota does not have them."""
        self.access.quotas.charge(self.asked.caller.name, self.asked.caller.quota, units)
        self.charged = units

    def leave(self) -> None:
        """Give the place back; nothing if there is none."""
        if self.beginning:
            self.beginning = False
            self.access.quotas.begun()

    def begin(self, header: AnswerHeader) -> None:
        """The answer's header is there. Raises RuntimeError: it contradicts itself."""
        self.leave()
        if header.exact and header.partial:
            raise RuntimeError(f"answer {header.query_id} says exact, and names missing ranges")
        self.header = header
        self.status = 206 if header.partial else 200
        metrics, asked = self.access.metrics, self.asked
        outcome = "partial" if header.partial else "exact" if header.exact else "doubtful"
        metrics.answers.labels(header.engine.value, outcome).inc()
        metrics.header_seconds.labels(asked.edge, asked.endpoint).observe(time.monotonic() - self.began_at)


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """Of one process; both edges share it."""

    keys: Keys | None
    """None: authentication is off, everybody is LOCAL."""
    quotas: Quotas
    registry: Registry
    audit: Audit
    metrics: GatewayMetrics

    def caller(self, key: str | None) -> Caller:
        """Raises Unauthenticated."""
        if self.keys is None:
            return LOCAL
        try:
            return self.keys.caller(key)
        except Unauthenticated:
            self.metrics.auth_failures.inc()
            raise

    @asynccontextmanager
    async def visit(self, asked: Asked) -> AsyncIterator[Visit]:
        """One request of the current task. What is raised inside goes on to the outside, audited.

        Raises:
            TooCostly: too many requests of this caller run already.
            Cancelled: somebody stopped it.
        """
        began_at = time.monotonic()
        visit: Visit | None = None
        failed: BaseException | None = None
        caller = asked.caller
        self.metrics.running.inc()
        try:
            with correlated(asked.correlation_id), self.quotas.admitted(caller.name, caller.quota):
                async with self.registry.begin(
                    caller.name, asked.text, asked.timeout_seconds, asked.correlation_id
                ) as call:
                    visit = Visit(asked, call, self, began_at)
                    yield visit
        except BaseException as error:  # noqa: BLE001 - noted and raised again
            failed = error
            raise
        finally:
            if visit is not None:
                visit.leave()
            self.metrics.running.dec()
            self._note(asked, visit, failed, time.monotonic() - began_at)

    def turned_away(
        self,
        edge: str,
        endpoint: str,
        status: int,
        reason: str,
        correlation_id: str,
        caller: str = "",
        question: str = "",
    ) -> None:
        """Refused before its visit (no key, a role that is lacking, a question that makes no sense): audited, too."""
        known = {"caller": caller} if caller else {}
        line = {"edge": edge, "endpoint": endpoint, "question": question, "correlation_id": correlation_id}
        self.audit.write({**known, **line, "status": status, "error": reason})

    def _note(self, asked: Asked, visit: Visit | None, failed: BaseException | None, seconds: float) -> None:
        status = refusal_of(failed).http if failed is not None else visit.status if visit is not None else 0
        metrics, labels = self.metrics, (asked.edge, asked.endpoint)
        if isinstance(failed, TooCostly):
            metrics.quota_refusals.inc()
        metrics.request_seconds.labels(*labels).observe(seconds)
        line: dict[str, object] = {
            "caller": asked.caller.name,
            "edge": asked.edge,
            "endpoint": asked.endpoint,
            "question": asked.text,
            "correlation_id": asked.correlation_id,
            "status": status,
            "seconds": round(seconds, 6),
        }
        if visit is not None:
            metrics.rows.labels(*labels).inc(visit.rows)
            metrics.sent_bytes.labels(*labels).inc(visit.sent_bytes)
            line |= {"query_id": visit.call.query_id, "rows": visit.rows}
            if visit.header is not None:
                line |= {"exact": visit.header.exact, "cursor": visit.header.cursor}
            if visit.charged:
                # What gave nothing costs one unit; rows beyond the estimate are taken afterwards.
                # Leaving early saves nothing: what was read for it was read.
                used = max(visit.charged, 1 + visit.rows / 10_000) if status in (200, 206, 499) else 1.0
                self.quotas.settle(asked.caller.name, asked.caller.quota, visit.charged, used)
                line["units"] = round(used, 3)
        if failed is not None:
            line["error"] = str(failed) if isinstance(failed, QueryError) else type(failed).__name__
        self.audit.write(line)
