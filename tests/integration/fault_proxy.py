"""A proxy in front of catalog and object store that goes wrong on command, at named points of a commit.

The services under test know nothing of it: they are given its addresses. Requests are forwarded
as they came, their Host header included, over which S3 requests are signed.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

_LOOPBACK = "127.0.0.1"
_UPSTREAM_SECONDS = 60.0
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
RESET = -1
"""As an answer: none at all, the connection is reset."""


class Point(Enum):
    """Where a request of the writer is recognised."""

    LOAD_TABLE = "load table"
    DATA_FILE_PUT = "data file put"
    STATE_FILE_PUT = "state file put"
    MANIFEST_PUT = "manifest put"
    MANIFEST_LIST_PUT = "manifest list put"
    COMMIT_BEFORE = "commit received, not forwarded"
    COMMIT_AFTER = "commit forwarded and answered, answer withheld"


_TABLE = r"/v1/(?:[^/]+/)?namespaces/[^/]+/tables/[^/]+$"
_POINTS: tuple[tuple[str, str, tuple[Point, ...]], ...] = (
    ("GET", _TABLE, (Point.LOAD_TABLE,)),
    ("POST", _TABLE, (Point.COMMIT_BEFORE, Point.COMMIT_AFTER)),
    ("PUT", r"/[^/]+/.*/data/.*\.parquet$", (Point.DATA_FILE_PUT,)),
    ("PUT", r"/[^/]+/.*/metadata/snap-[^/]*\.avro$", (Point.MANIFEST_LIST_PUT,)),
    ("PUT", r"/[^/]+/.*/metadata/[^/]*-m\d+\.avro$", (Point.MANIFEST_PUT,)),
    ("PUT", r"/state/.*/\d+$", (Point.STATE_FILE_PUT,)),
)


def points_of(method: str, target: str) -> tuple[Point, ...]:
    """The points that a request passes, in order; none for what no test interferes with."""
    path = target.partition("?")[0]
    return next(
        (points for verb, pattern, points in _POINTS if verb == method and re.match(pattern, path)), ()
    )


@dataclass(slots=True, eq=False)
class Fault:
    """What happens at the nth request that passes a point and, where `times` says so, at those behind it."""

    point: Point
    answer: int | None
    held: bool
    call: Callable[[], None] | None
    path_part: str
    nth: int
    times: int
    arrived: threading.Event = field(default_factory=threading.Event)
    """A request has come to the point, and `call` has returned."""
    ended: threading.Event = field(default_factory=threading.Event)
    """A request has left it: forwarded, answered or reset."""
    status: int | None = None
    """What the server behind answered to the request, where it was forwarded."""
    request: _Request | None = None
    _seen: int = 0
    _go: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let held requests go on."""
        self._go.set()

    def replay(self) -> int:
        """Send the request again as it was, as a network may; the server's status."""
        assert self.request is not None, f"nothing came to {self.point}"
        return self.request.forward().status

    def applies(self, path: str) -> bool:
        if self.path_part not in path:
            return False
        self._seen += 1
        return self.nth <= self._seen < self.nth + self.times

    def wait(self) -> None:
        """Return when the fault is released."""
        self._go.wait()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    upstream: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def forward(self) -> _Answer:
        connection = HTTPConnection(self.upstream, timeout=_UPSTREAM_SECONDS)
        try:
            connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers:
                connection.putheader(name, value)
            connection.endheaders(self.body or None)
            response = connection.getresponse()
            return _Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


class FaultProxy:
    """Listens for a catalog and its object store on two loopback ports, in threads of its own.

    Use as a context manager, and `properties` in place of the server's.
    """

    def __init__(self, properties: Mapping[str, str]) -> None:
        """`properties`: the server's, as `load_catalog` takes them."""
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._hits: Counter[Point] = Counter()
        self._closing = False
        self._catalog = self._listen(urlsplit(properties["uri"]).netloc)
        self._store = self._listen(urlsplit(properties["s3.endpoint"]).netloc)
        uri = f"http://{_LOOPBACK}:{self._catalog.server_port}"
        self.properties = dict(properties) | {
            "uri": uri,
            "oauth2-server-uri": f"{uri}{urlsplit(properties['oauth2-server-uri']).path}",
            "s3.endpoint": f"http://{_LOOPBACK}:{self._store.server_port}",
        }

    def inject(
        self,
        point: Point,
        answer: int | None = None,
        *,
        held: bool = False,
        call: Callable[[], None] | None = None,
        path_part: str = "",
        nth: int = 1,
        times: int = 1,
    ) -> Fault:
        """Something goes wrong at `point`, from its `nth` request on, counted from now, for `times` requests.

        In this order: `call` runs; the request waits for `release` if `held`; it is answered with
        the status `answer` or `RESET`, or goes on if that is None. At every point but COMMIT_AFTER
        an answered request never reaches the server. Only requests with `path_part` in their path
        count. The client may be gone by the time a held request goes on: it is forwarded all the same.
        """
        fault = Fault(point, answer, held, call, path_part, nth, times)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """No more faults; what is held goes on."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def hits(self, point: Point) -> int:
        """How many requests have passed `point`."""
        return self._hits[point]

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self.clear()
        for server in (self._catalog, self._store):
            server.shutdown()
            server.server_close()

    def _listen(self, upstream: str) -> ThreadingHTTPServer:
        proxy = self

        class Handler(_Handler):
            def serve(self) -> None:
                proxy._serve(self, upstream)

        server = ThreadingHTTPServer((_LOOPBACK, 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _serve(self, client: _Handler, upstream: str) -> None:
        request = client.request_to(upstream)
        fault = None
        try:
            for point in points_of(request.method, request.target):
                if point is Point.COMMIT_AFTER:
                    continue
                if (fault := self._meet(point, request)) is not None and fault.answer is not None:
                    client.answer_status(fault.answer)
                    return
            answer = request.forward()
            if fault is not None:
                fault.status = answer.status
            if Point.COMMIT_AFTER in points_of(request.method, request.target):
                after = self._meet(Point.COMMIT_AFTER, request, answer.status)
                if after is not None:
                    fault = after
                    if after.answer is not None:
                        client.answer_status(after.answer)
                        return
            client.answer(answer)
        except (OSError, HTTPException):
            client.reset()  # the server or the client is gone
        finally:
            if fault is not None:
                fault.ended.set()

    def _meet(self, point: Point, request: _Request, status: int | None = None) -> Fault | None:
        with self._lock:
            self._hits[point] += 1
            fault = next((f for f in self._faults if f.point is point and f.applies(request.target)), None)
        if fault is None:
            return None
        fault.request, fault.status = request, status
        if fault.call is not None:
            fault.call()
        fault.arrived.set()
        if fault.held:
            fault.wait()
        if self._closing:
            raise ConnectionAbortedError("the proxy was closed")
        return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def serve(self) -> None:
        raise NotImplementedError

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = lambda self: self.serve()  # noqa: E731

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client was killed

    def log_message(self, format: str, *arguments: object) -> None:
        return

    def request_to(self, upstream: str) -> _Request:
        """The request as it is to be forwarded: without what concerns this connection alone."""
        dropped = _HOP_BY_HOP | {"expect", "content-length"}
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        body = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._read_chunks()
        elif "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if body or "Content-Length" in self.headers:
            headers.append(("Content-Length", str(len(body))))
        return _Request(upstream, self.command, self.path, headers, body)

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(parts)

    def answer(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = str(len(answer.body))
        if self.command == "HEAD":
            length = next((value for name, value in answer.headers if name.lower() == "content-length"), "0")
        if answer.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer.body)

    def answer_status(self, status: int) -> None:
        if status == RESET:
            self.reset()
            return
        body = b'{"error":{"message":"injected","type":"Injected","code":%d}}' % status
        self.answer(_Answer(status, [("Content-Type", "application/json")], body))

    def reset(self) -> None:
        """End the connection without an answer: closing with a linger time of 0 sends RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
