"""Binance spot as a venue: its addresses and the REST requests a leg starts with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import aiohttp
import msgspec

from seamark.ingestor.errors import SettingRefused, VenueUnavailable
from seamark.ingestor.frames import FEEDS, BinanceFrames
from seamark.ingestor.reference import read_exchange_info
from seamark.ingestor.venue import Instrument

_MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}
_REQUEST_SECONDS = 10.0
_INVALID_SYMBOL = -1121
_WAIT_STATUSES = (418, 429)


class _ServerTime(msgspec.Struct):
    serverTime: int


class BinanceSpot:
    """The spot market for some symbols. `http` is the caller's to close."""

    exchange = "binance"
    market = "spot"

    def __init__(
        self, ws_url: str, rest_url: str, symbols: Sequence[str], http: aiohttp.ClientSession
    ) -> None:
        self._ws_url, self._rest_url, self._symbols, self._http = ws_url, rest_url, symbols, http

    def stream_url(self) -> str:
        """One combined stream with the trades, book tickers and klines of every symbol, in microseconds."""
        names = (f"{symbol.lower()}@{feed}" for symbol in self._symbols for feed in FEEDS)
        return f"{self._ws_url}/stream?streams={'/'.join(names)}&timeUnit=MICROSECOND"

    async def instruments(self) -> Sequence[Instrument]:
        """`GET /api/v3/exchangeInfo`, weight 20."""
        asked = json.dumps(list(self._symbols), separators=(",", ":"))
        found = read_exchange_info(await self._get("/api/v3/exchangeInfo", {"symbols": asked}))
        if missing := set(self._symbols) - {instrument.symbol for instrument in found}:
            raise VenueUnavailable(f"exchangeInfo does not state anything about {', '.join(sorted(missing))}")
        return found

    async def time_us(self) -> int:
        """`GET /api/v3/time`, weight 1."""
        body = await self._get("/api/v3/time", {})
        try:
            return msgspec.json.decode(body, type=_ServerTime).serverTime
        except msgspec.DecodeError as error:
            raise VenueUnavailable(f"the venue's time cannot be read: {error}") from error

    def frame_reader(self, instruments: Iterable[Instrument]) -> BinanceFrames:
        """Reader of the streams that `stream_url` names."""
        return BinanceFrames(self.market, instruments)

    async def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        try:
            async with self._http.get(
                f"{self._rest_url}{path}",
                params=query,
                headers=_MICROSECONDS,
                timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            ) as reply:
                body = await reply.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise VenueUnavailable(f"{self._rest_url}{path}: {str(error) or 'no answer in time'}") from error
        if reply.status in _WAIT_STATUSES:
            wait = reply.headers.get("Retry-After", "")
            raise VenueUnavailable(
                f"{path} answered {reply.status}: too many requests",
                float(wait) if wait.isdecimal() else 60.0,
            )
        if reply.status == 400 and _error_code(body) == _INVALID_SYMBOL:
            raise SettingRefused(
                f"SEAMARK_SYMBOLS was {','.join(self._symbols)!r}, must be symbols that {self._rest_url} knows"
            )
        if reply.status != 200:
            raise VenueUnavailable(f"{path} answered {reply.status}: {body[:200]!r}")
        return body


def _error_code(body: bytes) -> int | None:
    try:
        found = msgspec.json.decode(body, type=dict[str, object]).get("code")
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, int) else None
