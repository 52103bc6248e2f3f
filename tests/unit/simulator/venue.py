"""A small recording, and a simulator that runs in the test's own event loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from seamark.simulator.connection import ConnectionLimits
from seamark.simulator.faults import FaultInjector, FrameFaults
from seamark.simulator.journal import Journal
from seamark.simulator.rest import RequestWeights
from seamark.simulator.server import Simulator, system_clock_us
from seamark.simulator.source import MarketSource
from seamark.simulator.state import StateFile

RECORDED = Path(__file__).parents[4] / "shared" / "marketdata"
NO_FAULTS = FrameFaults(repeat_share=0, swap_share=0, malformed_interval_seconds=0)
ALL_STREAMS = "btcusdt@trade/btcusdt@bookTicker/ethusdt@trade/ethusdt@bookTicker"
DEADLINE_SECONDS = 10
START_MS = 1_700_000_000_000
"""Trade time of the small recording's first trade."""


def write_recording(path: Path, symbol: str = "BTCUSDT", trades: int = 6, first_id: int = 100) -> Path:
    """Trades 10 ms apart, in pairs of equal time, a book ticker after each, and a depth line."""
    lines = ['1700000000000000000 {"lastUpdateId":1,"bids":[],"asks":[]}']
    for number in range(trades):
        at = START_MS + number // 2 * 10
        received_ns = at * 1_000_000 - 1_270_000_000 + number * 1000
        trade = (
            f'{{"e":"trade","E":{at + 1},"s":"{symbol}","t":{first_id + number},'
            f'"p":"{50 + number}.25000000","q":"0.00{number + 1}00000","T":{at},"m":true,"M":true}}'
        )
        book = (
            f'{{"u":{900 + 7 * number},"s":"{symbol}","b":"{50 + number}.24000000","B":"1.00000000",'
            f'"a":"{50 + number}.25000000","A":"2.00000000"}}'
        )
        lines.append(f'{received_ns} {{"stream":"{symbol.lower()}@trade","data":{trade}}}')
        lines.append(f'{received_ns} {{"stream":"{symbol.lower()}@bookTicker","data":{book}}}')
    lines.append(f'{received_ns} {{"stream":"{symbol.lower()}@depth@100ms","data":{{"e":"depthUpdate"}}}}')
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Venue:
    """A running simulator and a client session to it."""

    simulator: Simulator
    port: int
    http: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def connect(self, path: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        return await self.http.ws_connect(self.url(path), **options)

    async def get(self, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, Any]:
        async with self.http.get(self.url(path), **options) as response:
            return response, await response.json()


@asynccontextmanager
async def running(
    folder: Path,
    source: MarketSource,
    *,
    faults: FrameFaults = NO_FAULTS,
    speed: float | None = None,
    limits: ConnectionLimits | None = None,
    weights: RequestWeights | None = None,
    now_us: Callable[[], int] = system_clock_us,
) -> AsyncIterator[Venue]:
    """A simulator on a free port, its journal and state in `folder`; stopped at the end."""
    simulator = Simulator(
        source,
        FaultInjector(faults, seed=1),
        Journal(folder / "journal.jsonl"),
        StateFile(folder / "state.json"),
        speed,
        limits,
        weights,
        now_us,
    )
    async with asyncio.timeout(4 * DEADLINE_SECONDS):
        port = await simulator.start(0)
        async with aiohttp.ClientSession() as http:
            try:
                yield Venue(simulator, port, http)
            finally:
                await simulator.stop()


async def receive_json(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """The next text frame; fails if there is none in time or the connection ends."""
    return json.loads(await socket.receive_str(timeout=DEADLINE_SECONDS))


async def receive_until_closed(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """The texts of all frames up to the close of the connection."""
    texts = []
    async for message in socket:
        assert message.type is aiohttp.WSMsgType.TEXT
        texts.append(message.data)
    return texts


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, up to the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def journal_lines(folder: Path) -> list[dict[str, Any]]:
    """What the journal says so far."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
