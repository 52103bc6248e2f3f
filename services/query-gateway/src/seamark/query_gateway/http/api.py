"""What every route needs, and how it turns a question into an answer on its way."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import orjson
from starlette.requests import Request
from starlette.responses import Response

from seamark.query_gateway.access import SHOWN_CHARACTERS, Access, Asked
from seamark.query_gateway.answers import AnswerLimits, Answers, Work
from seamark.query_gateway.auth import Caller, Role
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.http.errors import correlation_id
from seamark.query_gateway.http.formats import format_of
from seamark.query_gateway.http.parameters import Asking
from seamark.query_gateway.http.streamed import StreamedAnswer
from seamark.query_gateway.question import Question
from seamark.query_gateway.running import Call


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, eq=False)
class Api:
    """Shared by all routes."""

    gateway: Answers
    access: Access
    limits: AnswerLimits
    stopping: Callable[[], bool] = lambda: False
    """Whether the process takes no new requests."""
    now_us: Callable[[], int] = _now_us

    def caller(self, request: Request, *roles: Role) -> Caller:
        """Raises Forbidden: the caller has none of the roles."""
        found: Caller = request.scope["state"]["caller"]
        if not found.roles & set(roles):
            found.require(roles[0])
        return found

    def asked(
        self, request: Request, caller: Caller, text: Mapping[str, object], seconds: float | None
    ) -> Asked:
        """What is visited next: refusals from here on are the visit's to audit.

        Raises:
            Invalid: a timeout longer than there is.
        """
        most = self.limits.most_timeout_seconds
        if seconds is not None and seconds > most:
            raise Invalid("timeout_seconds", f"timeout_seconds was {seconds:g}, must be at most {most:g}")
        endpoint = request.scope["route"].path
        request.scope["state"]["visited"] = True
        return Asked(
            "http",
            endpoint,
            caller,
            f"{request.method} {request.url.path} {orjson.dumps(text, default=str).decode()}"[
                :SHOWN_CHARACTERS
            ],
            correlation_id(request),
            seconds or self.limits.timeout_seconds,
        )

    def answer(self, request: Request, asking: Asking, work: Work) -> Response:
        """Raises Forbidden, Invalid."""
        caller = self.caller(request, Role.READER)
        name = format_of(asking.format, request.headers.get("accept"))
        asked = self.asked(request, caller, asking.model_dump(exclude_unset=True), asking.timeout_seconds)
        return StreamedAnswer(self.gateway, work, asked, name, self.access, self.limits)

    def rows(
        self, request: Request, asking: Asking, question: Question, limit: int | None, field: str = "limit"
    ) -> Response:
        """Rows of a table, page by page or all. Raises Forbidden, Invalid."""
        rows = self._page(request, asking, limit, field)
        question = replace(question, limit=rows)
        most = 0 if rows else self.limits.export_rows
        return self.answer(
            request, asking, Work(lambda call: self.gateway.query(question, call), (question,), rows, most)
        )

    def _page(self, request: Request, asking: Asking, limit: int | None, field: str) -> int:
        """Rows of the page that is asked for, by what the format allows; 0: all.

        Raises:
            Invalid: more than a page may have.
        """
        name = format_of(asking.format, request.headers.get("accept"))
        limits = self.limits
        if name == "ndjson":
            return min(limit or limits.export_rows, limits.export_rows)
        if limit is None:
            return limits.default_rows if name == "json" else 0
        if limit > limits.page_rows:
            unpaged = "" if name == "json" else ", or absent for all rows"
            raise Invalid(field, f"{field} was {limit}, must be 1 to {limits.page_rows} as {name}{unpaged}")
        return limit

    async def document(
        self,
        request: Request,
        made: Callable[[Call, Caller], Awaitable[object]],
        *roles: Role,
        text: Mapping[str, object] | None = None,
        units: float = 1.0,
    ) -> Response:
        """A small answer in JSON, for `units` of the caller's quota. Raises QueryError."""
        caller = self.caller(request, *(roles or (Role.READER,)))
        asked = self.asked(request, caller, text or {}, None)
        async with self.access.visit(asked) as visit:
            visit.charge(units)
            body = orjson.dumps(await made(visit.call, caller))
            visit.sent_bytes = len(body)
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})
