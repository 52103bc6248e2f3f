"""The REST side: time and instruments, under the venue's request weight.

Every reply carries `X-MBX-USED-WEIGHT-1M`. A client over 6,000 in a minute gets 429 with
`Retry-After` until the minute ends; requests meanwhile still count.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from .events import Instrument, decimal_text
from .wire import TimeUnit

WEIGHT_PER_MINUTE = 6_000
_TIME_WEIGHT, _EXCHANGE_INFO_WEIGHT = 1, 20
_LARGEST_PRICE = _LARGEST_QUANTITY = 10**6 * 10**8

Handler = Callable[[web.Request], Awaitable[web.Response]]


class RequestWeights:
    """Weight used by each client in the current minute of the clock. Pure but for its memory."""

    def __init__(self, limit: int = WEIGHT_PER_MINUTE) -> None:
        self.limit = limit
        self._minute = -1
        self._used: dict[str, int] = {}

    def charge(self, client: str, weight: int, now_us: int) -> tuple[int, int]:
        """Adds `weight`. Returns the weight used and the seconds to wait, 0 if within the limit."""
        now_seconds = now_us // 1_000_000
        if now_seconds // 60 != self._minute:
            self._minute = now_seconds // 60
            self._used.clear()
        used = self._used[client] = self._used.get(client, 0) + weight
        return used, 0 if used <= self.limit else 60 - now_seconds % 60


class RestApi:
    """`GET /api/v3/time` and `GET /api/v3/exchangeInfo`. `now_us` is the venue's clock."""

    def __init__(
        self, instruments: Sequence[Instrument], now_us: Callable[[], int], weights: RequestWeights
    ) -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._now_us = now_us
        self._weights = weights

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to an application."""
        return [
            web.get("/api/v3/time", self._weighted(_TIME_WEIGHT, self._time)),
            web.get("/api/v3/exchangeInfo", self._weighted(_EXCHANGE_INFO_WEIGHT, self._exchange_info)),
        ]

    def _weighted(self, weight: int, reply: Callable[[web.Request], web.Response]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            used, wait_seconds = self._weights.charge(request.remote or "", weight, self._now_us())
            if wait_seconds:
                limit = self._weights.limit
                message = (
                    f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
                )
                response = _refusal(-1003, message, status=429)
                response.headers["Retry-After"] = str(wait_seconds)
            else:
                response = reply(request)
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            return response

        return handle

    def _server_time(self, request: web.Request) -> int:
        unit = request.headers.get("X-MBX-TIME-UNIT", "").upper()
        now_us = self._now_us()
        return now_us if unit == TimeUnit.MICROSECOND.value else now_us // 1000

    def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": self._server_time(request)})

    def _exchange_info(self, request: web.Request) -> web.Response:
        try:
            symbols = _requested_symbols(request)
        except ValueError as error:
            return _refusal(-1100, f"Illegal characters found in a parameter: {error}")
        if symbols is None:
            symbols = list(self._instruments)
        if not all(symbol in self._instruments for symbol in symbols):
            return _refusal(-1121, "Invalid symbol.")
        return web.json_response(
            {
                "timezone": "UTC",
                "serverTime": self._server_time(request),
                "rateLimits": [
                    {
                        "rateLimitType": "REQUEST_WEIGHT",
                        "interval": "MINUTE",
                        "intervalNum": 1,
                        "limit": self._weights.limit,
                    }
                ],
                "exchangeFilters": [],
                "symbols": [_symbol(self._instruments[symbol]) for symbol in symbols],
            }
        )


def _requested_symbols(request: web.Request) -> list[str] | None:
    if "symbol" in request.query:
        return [request.query["symbol"]]
    if "symbols" not in request.query:
        return None
    symbols = json.loads(request.query["symbols"])
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise ValueError('symbols must be a JSON array of names, as ["BTCUSDT","ETHUSDT"]')
    return symbols


def _symbol(instrument: Instrument) -> dict[str, Any]:
    tick, step = decimal_text(instrument.tick), decimal_text(instrument.step)
    return {
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base_asset,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote_asset,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": decimal_text(_LARGEST_PRICE),
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": step,
                "maxQty": decimal_text(_LARGEST_QUANTITY),
                "stepSize": step,
            },
        ],
    }


def _refusal(code: int, message: str, status: int = 400) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status)
