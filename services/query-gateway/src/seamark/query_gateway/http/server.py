"""The HTTP server: uvicorn on the loop that is running, with a way to drop a client that does not read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.http.errors import error_line
from seamark.query_gateway.http.streamed import ABORT


class _Protocol(HttpToolsProtocol):
    """Gives the application the means to drop its connection: ASGI has none."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused in the same form as everything else."""
        refused = Invalid("", "request was no HTTP/1.1, or its line was longer than 65535 bytes")
        body = error_line(refused, uuid.uuid4().hex)
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(head + body)
        self.transport.close()


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the process, which serves gRPC, too."""
        yield


def http_server(app: FastAPI, drain_seconds: float) -> Server:
    """A server for sockets that are bound. Its `should_exit` ends it, within `drain_seconds`."""
    return _Server(
        Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=2_048,
            timeout_graceful_shutdown=max(1, int(drain_seconds)),
        )
    )
