"""In front of all routes: correlation id, key, size of the body, count of requests."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seamark.query_gateway.access import SHOWN_CHARACTERS, Access
from seamark.query_gateway.auth import key_of
from seamark.query_gateway.errors import Unauthenticated
from seamark.query_gateway.http.errors import error_response

CORRELATION = "x-correlation-id"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Front:
    """ASGI middleware. Everything below /v1 needs a key, also what does not exist there."""

    def __init__(self, app: ASGIApp, access: Access, body_bytes: int) -> None:
        self._app, self._access, self._body_bytes = app, access, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(CORRELATION, "")
        correlation = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["correlation_id"] = correlation
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION] = correlation
            await send(message)

        try:
            if scope["path"].startswith("/v1/"):
                try:
                    key = key_of(headers.get("authorization"), headers.get("x-api-key"))
                    state["caller"] = self._access.caller(key)
                except Unauthenticated as error:
                    state["refused"] = str(error)
                    await error_response(error, correlation)(scope, receive, answer)
                    return
            await self._app(scope, self._bounded(receive), answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            outcome = state.get("outcome", status)
            self._access.metrics.requests.labels("http", route, str(outcome)).inc()
            # A visit audits itself; what was refused before it, by whatever part, is audited here.
            if "refused" in state and "visited" not in state and scope["path"].startswith("/v1/"):
                query = scope["query_string"].decode("latin-1")
                question = f"{scope['method']} {scope['path']}{'?' if query else ''}{query}"[
                    :SHOWN_CHARACTERS
                ]
                name = state["caller"].name if "caller" in state else ""
                self._access.turned_away(
                    "http", route, outcome, state["refused"], correlation, name, question
                )

    def _bounded(self, receive: Receive) -> Receive:
        most, got = self._body_bytes, 0

        async def bounded() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise HTTPException(413, f"body was larger than {most} bytes, must be at most that")
            return message

        return bounded
