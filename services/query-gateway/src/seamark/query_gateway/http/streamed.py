"""An answer on its way to one client: opened, encoded, sent; given up when nobody reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from seamark.query_gateway.access import Access, Asked, Visit
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.answers import AnswerLimits, Answers, Work, close, next_batch, opened
from seamark.query_gateway.errors import Cancelled, QueryError, Unavailable
from seamark.query_gateway.header import header_json
from seamark.query_gateway.http.errors import error_line, error_response
from seamark.query_gateway.http.formats import MEDIA_TYPES, Encoder, encoder
from seamark.query_gateway.http.headers import answer_headers
from seamark.query_gateway.refusals import refusal_of
from seamark.query_gateway.threads import done_by_rows

logger = logging.getLogger(__name__)

FIRST_BYTES = 256 * 1024
"""Encoded before the status is sent: what fails until then fails with its own status."""
MOST_JOINED_BYTES = 1024 * 1024
"""Up to here one piece is sent rather than several."""
ABORT = "seamark.abort"
"""Extension of the server: drop the connection, with what is still to be sent on it."""


class StreamedAnswer(Response):
    """Sends one answer, a piece at a time: none is encoded before the client took the one before."""

    def __init__(
        self, gateway: Answers, work: Work, asked: Asked, form: str, access: Access, limits: AnswerLimits
    ) -> None:
        super().__init__(media_type=MEDIA_TYPES[form])
        self._gateway, self._work, self._asked, self._format = gateway, work, asked, form
        self._access, self._limits = access, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(scope, send, self._limits.write_timeout_seconds)
        watch: asyncio.Task[None] | None = None
        try:
            async with self._access.visit(self._asked) as visit:
                watch = asyncio.create_task(self._watch(receive, client, visit.call.query_id))
                await visit.admit(self._gateway, self._work)
                answer = await opened(self._work.open, visit.call)
                try:
                    visit.begin(answer.header)
                    await self._send(answer, visit, client)
                finally:
                    await close(answer.batches)
        except asyncio.CancelledError:  # from outside: the server ends, and does not wait longer
            scope["state"]["outcome"] = 503
            await self._fail(Unavailable("the server ends"), scope, receive, client)
        except Exception as error:  # noqa: BLE001 - the last place that can tell the client
            if not isinstance(error, QueryError):
                logger.exception("answer failed")
            scope["state"]["outcome"] = refusal_of(error).http
            await self._fail(error, scope, receive, client)
        finally:
            if watch is not None:
                watch.cancel()

    async def _watch(self, receive: Receive, client: _Client, query_id: str) -> None:
        with suppress(HTTPException):  # more of a body than is allowed, where none was expected
            while (await receive())["type"] != "http.disconnect":
                pass
        if not client.ended:  # the end of an answer is a disconnect, too
            self._access.registry.cancel(query_id, "the client has left")

    async def _send(self, answer: Answer, visit: Visit, client: _Client) -> None:
        document = header_json(answer.header)
        self.status_code = visit.status
        self.headers.update(answer_headers(answer.header, document) | {"cache-control": "no-store"})
        pieces = self._pieces(answer, encoder(self._format, document, answer.schema), visit)
        # Formats without a place for the next cursor have it in a header: their pages are gathered first.
        paged = self._work.limit > 0 and self._format != "ndjson"
        gathered: list[bytes] = []
        size = 0
        whole = True
        async for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size > FIRST_BYTES and not paged:
                whole = False
                break
        if whole:
            self.headers["content-length"] = str(size)
            if answer.next_cursor:
                self.headers["seamark-next-cursor"] = answer.next_cursor
        else:
            del self.headers["content-length"]
        await client.start(self.status_code, self.raw_headers)
        for piece in gathered if size > MOST_JOINED_BYTES else (b"".join(gathered),):
            await client.body(piece, visit)
        gathered.clear()
        if not whole:
            async for piece in pieces:
                await client.body(piece, visit)
        await client.end()

    async def _pieces(self, answer: Answer, form: Encoder, visit: Visit) -> AsyncIterator[bytes]:
        """Encoded pieces; work that takes long is done beside the loop."""
        yield form.head()
        while (batch := await next_batch(answer, self._asked.timeout_seconds)) is not None:
            visit.rows += batch.num_rows
            step = form.piece_rows or max(1, batch.num_rows)
            for first in range(0, batch.num_rows, step):
                # All rows so far: an encoder may have kept them to write them at once.
                if piece := await done_by_rows(visit.rows, form.rows, batch.slice(first, step)):
                    yield piece
        yield await done_by_rows(visit.rows, form.tail, visit.rows, answer.next_cursor)

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, client: _Client) -> None:
        correlation = self._asked.correlation_id
        with suppress(Cancelled):  # the client does not read this either
            if not client.started:
                await client.respond(error_response(error, correlation), scope, receive)
            elif self._format == "ndjson":
                await client.body(b'{"error":' + error_line(error, correlation) + b"}\n", None)
        # Without its end the body is visibly broken: the server closes the connection.


class _Client:
    """Sends to a client, as long as it reads."""

    def __init__(self, scope: Scope, send: Send, timeout_seconds: float) -> None:
        self._send, self._timeout_seconds = send, timeout_seconds
        self._abort = scope.get("extensions", {}).get(ABORT, {}).get("call")
        self.started = self.ended = False

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        await self._within({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, piece: bytes, visit: Visit | None) -> None:
        await self._within({"type": "http.response.body", "body": piece, "more_body": True})
        if visit is not None:
            visit.sent_bytes += len(piece)

    async def end(self) -> None:
        self.ended = True
        await self._within({"type": "http.response.body", "body": b"", "more_body": False})

    async def respond(self, response: Response, scope: Scope, receive: Receive) -> None:
        self.started = self.ended = True
        await response(scope, receive, self._within)

    async def _within(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                await self._send(message)
        except TimeoutError:
            if not limit.expired():
                raise
            if self._abort is not None:
                self._abort()  # else what is buffered would wait for the client as long as it likes
            raise Cancelled(f"the client took nothing for {self._timeout_seconds:g} s") from None
