"""A venue that costs little: trades and book tickers at a steady rate, as load profile L has them.

Speaks as much of the venue's protocol as a leg needs; of klines it takes subscriptions and sends none. Keeps
no journal and makes no faults: that is the simulator's part, which takes several times the CPU for a frame.
Symbols are drawn by the popularity of `lake_rows`; the market opens when `--connections` clients are there.

    python -m bench.venue --port N [--trades N] [--quotes N] [--connections N]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

import numpy as np
import uvloop
from aiohttp import web

from bench.lake_rows import SYMBOLS
from seamark.simulator.events import Instrument, split_symbol
from seamark.simulator.rest import RequestWeights, RestApi
from seamark.simulator.wire import websocket_text_frame

_TICK_SECONDS = 0.005
_FIRST_ID = 6_000_000_000
"""Above those of any history written beforehand."""
_DRAWN = 1 << 16
_PRICE_TICK, _QUANTITY_STEP = 10**6, 10**3  # of 1e-8
_LONGEST_REQUEST_LINE = 64 * 1024


class Venue:
    """The market and who listens. One frame goes to one connection: legs have symbols of their own."""

    def __init__(self, trades_per_second: float, quotes_per_second: float, connections: int) -> None:
        self._rates = (trades_per_second, quotes_per_second)
        self._wanted = connections
        self._transports: dict[str, asyncio.Transport] = {}
        self._open: set[asyncio.Transport] = set()
        share = 1 / np.arange(1, len(SYMBOLS) + 1)
        rng = np.random.default_rng(3)
        self._drawn = rng.choice(len(SYMBOLS), _DRAWN, p=share / share.sum()).tolist()
        self._step = rng.integers(-1, 2, _DRAWN).tolist()
        self._quantity = rng.integers(1, 99_999, _DRAWN).tolist()
        self._price = rng.integers(10**4, 10**6, len(SYMBOLS)).tolist()
        self._at = 0
        self._ids = [[_FIRST_ID] * len(SYMBOLS), [_FIRST_ID] * len(SYMBOLS)]
        self.sent = [0, 0]
        self.behind_seconds = 0.0
        """The most that a tick came late."""

    async def run(self) -> None:
        """Sends what is due at each tick, until cancelled."""
        while len(self._open) < self._wanted:
            await asyncio.sleep(_TICK_SECONDS)
        began = time.monotonic()
        tick = 0
        while True:
            tick += 1
            due = began + tick * _TICK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.behind_seconds = max(self.behind_seconds, time.monotonic() - due)
            portions: dict[asyncio.Transport, list[bytes]] = {}
            for number, (rate, frame) in enumerate(zip(self._rates, (self._trade, self._quote), strict=True)):
                self._fill(portions, number, round(tick * _TICK_SECONDS * rate), frame)
            for transport, frames in portions.items():
                transport.write(b"".join(frames))

    def _fill(
        self,
        portions: dict[asyncio.Transport, list[bytes]],
        number: int,
        until: int,
        frame: Callable[[int, int, int, int], str],
    ) -> None:
        now_us = time.time_ns() // 1000
        for _ in range(until - self.sent[number]):
            at = self._at = (self._at + 1) % _DRAWN
            symbol = self._drawn[at]
            self._price[symbol] = price = max(1_000, self._price[symbol] + self._step[at])
            self._ids[number][symbol] += 1
            transport = self._transports.get(SYMBOLS[symbol])
            if transport is not None and not transport.is_closing():
                text = frame(symbol, price, self._quantity[at], now_us)
                portions.setdefault(transport, []).append(websocket_text_frame(text))
        self.sent[number] = until

    def _trade(self, symbol: int, price: int, quantity: int, now_us: int) -> str:
        name = SYMBOLS[symbol]
        return (
            f'{{"stream":"{name.lower()}@trade","data":{{"e":"trade","E":{now_us},"s":"{name}",'
            f'"t":{self._ids[0][symbol]},"p":"{price // 100}.{price % 100:02}000000","q":"0.{quantity:05}000",'
            f'"T":{now_us},"m":{"true" if quantity & 1 else "false"},"M":true}}}}'
        )

    def _quote(self, symbol: int, price: int, quantity: int, now_us: int) -> str:
        name = SYMBOLS[symbol]
        above = price + 1
        return (
            f'{{"stream":"{name.lower()}@bookTicker","data":{{"u":{self._ids[1][symbol]},"s":"{name}",'
            f'"b":"{price // 100}.{price % 100:02}000000","B":"1.{quantity:05}000",'
            f'"a":"{above // 100}.{above % 100:02}000000","A":"2.{quantity:05}000"}}}}'
        )

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, until its client leaves."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        self._open.add(transport)
        for name in request.query["streams"].split("/"):
            self._transports[name.partition("@")[0].upper()] = transport
        try:
            async for _ in socket:
                pass
        finally:
            self._open.discard(transport)
            self._transports = {name: one for name, one in self._transports.items() if one is not transport}
        return socket

    async def status(self, request: web.Request) -> web.Response:
        """What was sent so far, and how late."""
        unsent = sum(transport.get_write_buffer_size() for transport in self._open)
        return web.json_response(
            {
                "trades": self.sent[0],
                "quotes": self.sent[1],
                "unsent_bytes": unsent,
                "behind_seconds": self.behind_seconds,
            }
        )


async def _run(port: int, trades: float, quotes: float, connections: int) -> None:
    venue = Venue(trades, quotes, connections)
    instruments = [
        Instrument(symbol, *split_symbol(symbol), _PRICE_TICK, _QUANTITY_STEP) for symbol in SYMBOLS
    ]
    rest = RestApi(instruments, lambda: time.time_ns() // 1000, RequestWeights())
    application = web.Application()
    application.add_routes(
        [*rest.routes(), web.get("/stream", venue.serve), web.get("/status", venue.status)]
    )
    runner = web.AppRunner(application, access_log=None, max_line_size=_LONGEST_REQUEST_LINE)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await venue.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--trades", type=float, default=5_000.0, help="a second")
    parser.add_argument("--quotes", type=float, default=5_000.0, help="a second")
    parser.add_argument("--connections", type=int, default=2)
    given = parser.parse_args()
    uvloop.run(_run(given.port, given.trades, given.quotes, given.connections))


if __name__ == "__main__":
    main()
