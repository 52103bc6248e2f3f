"""Frames of Binance spot's combined streams to records, by the venue's page on WebSocket streams.

The envelope is decoded first, its payload left as bytes: the stream's name says which of
the typed payloads it must be. Prices and quantities are text and stay exact. Of klines only closed
ones are kept, as feed events: they say which trades there were, and are no source of any.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from seamark.ingestor.events import interval_closed, symbol_key
from seamark.ingestor.venue import Accepted, Announced, Instrument, Notice, RecordStream, Refused
from seamark.market import decimals
from seamark.market.errors import DecimalOutOfRange
from seamark.market.schema import RecordKind

TRADE_FEED = "trade"
QUOTE_FEED = "bookTicker"
KLINE_FEED = "kline_1m"
FEEDS = (TRADE_FEED, QUOTE_FEED, KLINE_FEED)
"""Streams of a symbol."""
_EXCHANGE = "binance"
_KLINE_INTERVAL = "1m"
_KLINE_US = 60_000_000
_SHUTDOWN = "!serverShutdown"

# Below: milliseconds, which the venue sends where microseconds were not asked for. Above: no date.
_Microseconds = Annotated[int, msgspec.Meta(ge=10**15, lt=7_258_118_400_000_000)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_IdOrNone = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    stream: str
    data: msgspec.Raw


class _Trade(msgspec.Struct, frozen=True, gc=False):
    e: Literal["trade"]
    E: _Microseconds
    s: str
    t: _Id
    p: str
    q: str
    T: _Microseconds
    m: bool


class _BookTicker(msgspec.Struct, frozen=True, gc=False):
    u: _Id
    s: str
    b: str
    B: str
    a: str
    A: str


class _Candle(msgspec.Struct, frozen=True, gc=False):
    t: _Microseconds
    T: _Microseconds
    s: str
    i: str
    f: _IdOrNone
    L: _IdOrNone
    n: _Id
    x: bool


class _Kline(msgspec.Struct, frozen=True, gc=False):
    e: Literal["kline"]
    s: str
    k: _Candle


class BinanceFrames:
    """Reads the frames of the trade, book ticker and kline streams of some symbols."""

    def __init__(self, market: str, instruments: Iterable[Instrument]) -> None:
        self._market = market
        self._streams: dict[str, RecordStream] = {}
        self._klines: dict[str, str] = {}
        """Symbol by stream."""
        for instrument in instruments:
            self._klines[f"{instrument.symbol.lower()}@{KLINE_FEED}"] = instrument.symbol
            for feed, stream in _streams(market, instrument).items():
                self._streams[f"{instrument.symbol.lower()}@{feed}"] = stream
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._trade = msgspec.json.Decoder(_Trade)
        self._ticker = msgspec.json.Decoder(_BookTicker)
        self._kline = msgspec.json.Decoder(_Kline)

    def read(
        self, payload: bytes | memoryview, received_us: int
    ) -> Accepted | Announced | Refused | Notice | None:
        """The meaning of one text frame; None: of a kline that is not closed. Never raises for its content."""
        try:
            envelope = self._envelope.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is a DecodeError
            return Refused(f"frame: {error}")
        stream = self._streams.get(envelope.stream)
        if stream is None:
            if (symbol := self._klines.get(envelope.stream)) is not None:
                return self._read_kline(envelope, symbol, received_us)
            if envelope.stream == _SHUTDOWN:
                return Notice("the venue shuts this server down")
            return Refused(f"stream was {envelope.stream[:64]!r}, must be one that was subscribed to")
        try:
            if stream.kind is RecordKind.TRADES:
                return self._read_trade(stream, self._trade.decode(envelope.data), received_us)
            return self._read_ticker(stream, self._ticker.decode(envelope.data), received_us)
        except (msgspec.DecodeError, UnicodeDecodeError, DecimalOutOfRange, _WrongSymbol) as error:
            native_id = _native_id(envelope.data, "t" if stream.kind is RecordKind.TRADES else "u")
            return Refused(
                f"{envelope.stream}: {error}", str(stream.constants["feed"]), stream.symbol, native_id
            )

    def _read_kline(self, envelope: _Envelope, symbol: str, received_us: int) -> Announced | Refused | None:
        try:
            kline = self._kline.decode(envelope.data)
            candle = kline.k
            if not candle.x:
                return None
            for found in (kline.s, candle.s):
                if found != symbol:
                    raise _WrongSymbol(found, symbol)
            ids = _closed_ids(candle)
        except (msgspec.DecodeError, UnicodeDecodeError, _WrongSymbol, _WrongKline) as error:
            # Without an id of the venue: those in it are of trades, which may well be there.
            return Refused(f"{envelope.stream}: {error}", KLINE_FEED, symbol)
        event = interval_closed(
            _EXCHANGE, self._market, TRADE_FEED, symbol, candle.t, candle.T + 1, ids, received_us
        )
        # Its time says nothing of trades received: klines may come before the last trades of their minute.
        return Announced(symbol_key(_EXCHANGE, symbol), event)

    @staticmethod
    def _read_trade(stream: RecordStream, trade: _Trade, received_us: int) -> Accepted:
        if trade.s != stream.symbol:
            raise _WrongSymbol(trade.s, stream.symbol)
        record = {
            "source_sequence": trade.t,
            "timestamp": trade.T,
            "published_timestamp": trade.E,
            "ingestion_timestamp": received_us,
            "price": decimals.to_bytes(decimals.parse(trade.p, "price")),
            "quantity": decimals.to_bytes(decimals.parse(trade.q, "quantity")),
            # m: the buyer was the maker, so the aggressor sold.
            "side": "SELL" if trade.m else "BUY",
        }
        return Accepted(stream, record, trade.T, trade.E)

    @staticmethod
    def _read_ticker(stream: RecordStream, ticker: _BookTicker, received_us: int) -> Accepted:
        if ticker.s != stream.symbol:
            raise _WrongSymbol(ticker.s, stream.symbol)
        record = {
            "source_sequence": ticker.u,
            "timestamp": received_us,
            "ingestion_timestamp": received_us,
            "bid_price": decimals.to_bytes(decimals.parse(ticker.b, "bid_price")),
            "bid_quantity": decimals.to_bytes(decimals.parse(ticker.B, "bid_quantity")),
            "ask_price": decimals.to_bytes(decimals.parse(ticker.a, "ask_price")),
            "ask_quantity": decimals.to_bytes(decimals.parse(ticker.A, "ask_quantity")),
        }
        return Accepted(stream, record, None, None)


def _streams(market: str, instrument: Instrument) -> dict[str, RecordStream]:
    """The streams of a symbol, by feed."""
    same = {
        "exchange": _EXCHANGE,
        "market": market,
        "symbol": instrument.symbol,
        "currency": instrument.currency,
        "origin": "STREAM",
        "native_id": None,
        "vendor_data": None,
    }
    trades = same | {"feed": TRADE_FEED, "trade_conditions": None, "correction_of": None}
    # A spot book ticker carries no time of the venue: the receive time stands in for it.
    quotes = same | {"feed": QUOTE_FEED, "timestamp_source": "RECEIVE", "published_timestamp": None}
    numbered = ("source_sequence",)
    return {
        TRADE_FEED: RecordStream(
            RecordKind.TRADES, instrument.symbol, trades, (*numbered, "published_timestamp")
        ),
        QUOTE_FEED: RecordStream(RecordKind.QUOTES, instrument.symbol, quotes, numbered),
    }


class _WrongSymbol(Exception):
    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"symbol was {found[:64]!r}, must be {wanted}")


class _WrongKline(Exception):
    pass


def _closed_ids(candle: _Candle) -> tuple[int, int] | None:
    """First and last id of a closed minute; None: no trades. Raises _WrongKline."""
    if candle.i != _KLINE_INTERVAL:
        raise _WrongKline(f"interval was {candle.i[:64]!r}, must be {_KLINE_INTERVAL}")
    if candle.t % _KLINE_US or candle.T + 1 - candle.t != _KLINE_US:
        raise _WrongKline(f"t and T were {candle.t} and {candle.T}, must be a whole minute of microseconds")
    first, last, count = candle.f, candle.L, candle.n
    if not count:
        if (first, last) != (-1, -1):
            raise _WrongKline(f"f and L were {first} and {last}, must be -1 where n is 0")
        return None
    if not 0 <= first <= last:
        raise _WrongKline(
            f"f and L were {first} and {last}, must be 0 or more and ascending where n is {count}"
        )
    if count != last - first + 1:
        raise _WrongKline(f"n was {count}, must be {last - first + 1}: the ids {first} to {last}")
    return first, last


def _native_id(payload: msgspec.Raw, name: str) -> str | None:
    """The venue's id in a payload that is refused for another reason, if there is one."""
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    value = fields.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
