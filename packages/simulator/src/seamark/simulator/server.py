"""The venue on a loopback port: WebSocket streams, REST, and two requests about the simulator itself."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import WSCloseCode, web

from .connection import Connection, ConnectionLimits, Ending
from .control import STREAMS_PER_CONNECTION, Session
from .faults import Fault, FaultInjector
from .hub import Hub
from .journal import Journal
from .playback import Playback
from .rest import RequestWeights, RestApi
from .source import MarketSource
from .state import StateFile
from .wire import TimeUnit

_LONGEST_REQUEST_LINE = 64 * 1024  # 1,024 stream names fit into one URL


def system_clock_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Simulator:
    """The whole venue: a source played to whoever connects, and the journal of it.

    `start`, then `wait` until it is told to stop (by `request_stop` or over HTTP), then `stop`.
    """

    def __init__(
        self,
        source: MarketSource,
        faults: FaultInjector,
        journal: Journal,
        state_file: StateFile,
        speed: float | None,
        limits: ConnectionLimits | None = None,
        weights: RequestWeights | None = None,
        now_us: Callable[[], int] = system_clock_us,
    ) -> None:
        self._limits = limits or ConnectionLimits()
        self._journal = journal
        self._hub = Hub(journal, now_us)
        self._playback = Playback(source, faults, self._hub, state_file, speed, now_us)
        self._rest = RestApi(source.instruments, now_us, weights or RequestWeights())
        self._stop_requested = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listens on 127.0.0.1, port 0 for a free one; returns the port. Raises OSError if it is in use."""
        application = web.Application()
        application.add_routes(self._rest.routes())
        application.add_routes(
            [
                web.get("/ws", self._raw_streams),
                web.get("/ws/{streams:.*}", self._raw_streams),
                web.get("/stream", self._combined_streams),
                web.get("/simulator/status", self._status),
                web.post("/simulator/stop", self._stop_on_request),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, max_line_size=_LONGEST_REQUEST_LINE)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self._playing = asyncio.create_task(self._playback.run())
        return int(self._runner.addresses[0][1])

    def request_stop(self) -> None:
        """Makes `wait` return."""
        self._stop_requested.set()

    async def wait(self) -> None:
        """Returns when a stop was requested. Raises what ended the playback, if anything did."""
        assert self._playing is not None
        stopping = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait((self._playing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._playing.done():
            await self._playing

    async def stop(self) -> None:
        """Stops the market, sends what is queued, closes every connection with 1001, then the journal.

        May be called again. Raises what ended the playback, if anything did, after all that.
        """
        assert self._playing is not None and self._runner is not None
        self._stop_requested.set()
        self._playback.stop()
        try:
            await self._playing
        finally:
            await self._hub.close_all(WSCloseCode.GOING_AWAY, "simulator stops")
            await self._runner.cleanup()
            self._journal.close()

    async def _raw_streams(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.match_info.get("streams", ""), combined=False)

    async def _combined_streams(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.query.get("streams", ""), combined=True)

    async def _serve(self, request: web.Request, names: str, combined: bool) -> web.StreamResponse:
        unit = request.query.get("timeUnit", TimeUnit.MILLISECOND.value).upper()
        if unit not in TimeUnit.__members__:
            raise web.HTTPBadRequest(
                text=f"timeUnit was {unit!r}, must be one of {', '.join(TimeUnit.__members__)}"
            )
        streams = tuple(dict.fromkeys(name for name in names.split("/") if name))
        if len(streams) > STREAMS_PER_CONNECTION:
            raise web.HTTPBadRequest(
                text=f"{len(streams)} streams asked for, a connection can listen to {STREAMS_PER_CONNECTION}"
            )
        if self._stop_requested.is_set():
            raise web.HTTPServiceUnavailable(text="the simulator stops")
        # No compression: market frames are written to the transport as they are, beside the library.
        socket = web.WebSocketResponse(autoclose=False, autoping=False, compress=False)
        writer = await socket.prepare(request)
        assert writer is not None
        if request.transport is None or self._stop_requested.is_set():
            return socket  # the client has gone, or the last connections were closed, meanwhile
        connection = Connection(
            self._hub.next_number(),
            socket,
            writer,
            request.transport,
            Session(streams, combined),
            TimeUnit[unit],
            self._limits,
            self._hub.change,
        )
        self._hub.opened(connection, request.remote or "")
        ending = Ending("cut", "server", "the simulator failed")
        try:
            ending = await connection.serve()
        finally:
            self._hub.ended(connection, ending)
        return socket

    async def _status(self, request: web.Request) -> web.Response:
        sent = self._playback.faults_sent
        return web.json_response(
            {
                "connections": len(self._hub.connections),
                "frames_sent": self._hub.frames_sent,
                "position": self._playback.position,
                "shift_us": self._playback.shift_us,
                **{fault.value: sent[fault.value] for fault in Fault},
            }
        )

    async def _stop_on_request(self, request: web.Request) -> web.Response:
        self.request_stop()
        return web.json_response({"stopping": True})
