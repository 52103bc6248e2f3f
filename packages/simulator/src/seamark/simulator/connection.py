"""One client's WebSocket: its requests, its heartbeat, and how it ends.

A connection ends *closed* when both sides exchanged close frames, else *cut*. The difference is
what a checker builds on: all that was sent before the simulator's own close frame has been
received by a client that answered it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from .control import Session, answer
from .wire import FrameFormat, TimeUnit


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The venue's limits; tests pass shorter times."""

    ping_interval_seconds: float = 20.0
    pong_timeout_seconds: float = 60.0
    messages_per_second: int = 5
    unsent_bytes: int = 8 * 1024 * 1024
    """A client with more than this waiting for it reads too slowly, and is disconnected."""
    close_timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended: `closed` or `cut`, by which side, and why."""

    event: str
    by: str
    reason: str


class Connection:
    """A prepared WebSocket and what it is subscribed to.

    `on_change` is called with the connection whenever its session has changed.
    """

    def __init__(
        self,
        number: int,
        socket: web.WebSocketResponse,
        writer: AbstractStreamWriter,
        transport: asyncio.Transport,
        session: Session,
        time_unit: TimeUnit,
        limits: ConnectionLimits,
        on_change: Callable[["Connection", Session], None],
    ) -> None:
        self.number = number
        self.frames_sent = 0
        self.accepts_frames = True
        """False from the first close frame of either side, or from the cut."""
        self.session = session
        self.form = FrameFormat(session.combined, time_unit)
        self._socket = socket
        self._writer = writer
        self._transport = transport
        self._limits = limits
        self._on_change = on_change
        self._unwritten: list[bytes] = []
        self._message_times: deque[float] = deque(maxlen=limits.messages_per_second)
        self._unanswered_pings: dict[bytes, float] = {}
        self._closing: asyncio.Task[None] | None = None
        self._close_sent = False
        self._draining: asyncio.Task[None] | None = None
        self._cut_reason = ""

    def add_frame(self, frame: bytes) -> int:
        """Puts an encoded frame into the current batch; returns its number on this connection."""
        self._unwritten.append(frame)
        self.frames_sent += 1
        return self.frames_sent

    def write(self) -> None:
        """Hands the batch to the transport; cuts the connection if too much waits there already."""
        batch = b"".join(self._unwritten)
        self._unwritten.clear()
        self._transport.write(batch)
        if self._transport.get_write_buffer_size() > self._limits.unsent_bytes:
            self._cut("client reads too slowly")

    async def drain(self) -> None:
        """Waits until the client has read most of what was written, or has gone. May be cancelled."""
        if self._transport.get_write_buffer_size() == 0:
            return
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        # All who wait for a transport share one future, the closing of the socket too: cancelling
        # a wait must not reach it.
        await asyncio.shield(self._draining)

    async def relieve(self, patience_seconds: float) -> None:
        """Gives a client with half of what is allowed waiting for it this long to read, or cuts it."""
        if self._transport.get_write_buffer_size() <= self._limits.unsent_bytes // 2:
            return
        try:
            async with asyncio.timeout(patience_seconds):
                await self.drain()
        except TimeoutError:
            self._cut("client reads too slowly")

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            return  # gone; nothing is left to wait for

    async def serve(self) -> Ending:
        """Answers the client until the connection ends."""
        heartbeat = asyncio.create_task(self._heartbeat())
        try:
            return await self._receive()
        finally:
            heartbeat.cancel()

    async def close(self, code: int, reason: str) -> None:
        """Closes from this side; everything written goes out first. `serve` tells how it ended."""
        self.accepts_frames = False
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(code, reason))
        await self._closing

    async def _receive(self) -> Ending:
        while True:
            message = await self._socket.receive()
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG):
                if self._over_message_rate():
                    await self.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
                    return self._closed_by_server("too many messages")
                await self._handle(message.type, message.data)
            elif message.type is WSMsgType.CLOSE:
                self.accepts_frames = False
                if self._close_sent:  # the client's answer, met here rather than in `_close`
                    return Ending("closed", "server", "stopped")
                await self._socket.close(code=message.data or WSCloseCode.OK, drain=False)
                return Ending("closed", "client", f"close code {message.data}")
            elif self._closing is not None:
                await self._closing
                return self._closed_by_server("stopped")
            elif self._cut_reason:
                return Ending("cut", "server", self._cut_reason)
            else:
                return Ending("cut", "client", "gone without a close handshake")

    def _closed_by_server(self, reason: str) -> Ending:
        if self._cut_reason:
            return Ending("cut", "server", self._cut_reason)
        if self._socket.close_code in (None, WSCloseCode.ABNORMAL_CLOSURE):
            return Ending("cut", "client", f"no answer to the close ({reason})")
        return Ending("closed", "server", reason)

    async def _handle(self, kind: WSMsgType, data: str | bytes) -> None:
        try:
            if kind is WSMsgType.PING:
                await self._socket.pong(data.encode() if isinstance(data, str) else bytes(data))
            elif kind is WSMsgType.PONG:
                # An unsolicited pong is allowed and keeps nothing alive.
                self._unanswered_pings.pop(data.encode() if isinstance(data, str) else bytes(data), None)
            else:
                text = data if isinstance(data, str) else data.decode("utf-8", "replace")
                answered = answer(text, self.session)
                self._on_change(self, answered.session)
                await self._socket.send_str(answered.reply)
        except ConnectionError:
            return  # the next receive tells how the connection ended

    def _over_message_rate(self) -> bool:
        now = asyncio.get_running_loop().time()
        full = len(self._message_times) == self._limits.messages_per_second
        over = full and now - self._message_times[0] < 1.0
        self._message_times.append(now)
        return over

    async def _heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._limits.ping_interval_seconds)
            now = loop.time()
            oldest = next(iter(self._unanswered_pings.values()), now)
            if now - oldest >= self._limits.pong_timeout_seconds:
                self._cut("no pong in time")
                return
            payload = str(int(now * 1_000_000)).encode()
            self._unanswered_pings[payload] = now
            try:
                await self._socket.ping(payload)
            except ConnectionError:
                return

    async def _close(self, code: int, reason: str) -> None:
        self._close_sent = True
        try:
            async with asyncio.timeout(self._limits.close_timeout_seconds):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            self._cut("close not answered in time")

    def _cut(self, reason: str) -> None:
        self.accepts_frames = False
        self._cut_reason = self._cut_reason or reason
        self._transport.abort()
