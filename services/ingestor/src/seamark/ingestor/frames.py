"""Frames of Binance spot's combined streams to records, by the venue's page on WebSocket streams.

The envelope is decoded first, its payload left as bytes: the stream's name says which of
the two typed payloads it must be. Prices and quantities are text and stay exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from seamark.ingestor.venue import Accepted, Instrument, Notice, RecordStream, Refused
from seamark.market import decimals
from seamark.market.errors import DecimalOutOfRange
from seamark.market.schema import RecordKind

TRADE_FEED = "trade"
QUOTE_FEED = "bookTicker"
_SHUTDOWN = "!serverShutdown"

# Below: milliseconds, which the venue sends where microseconds were not asked for. Above: no date.
_Microseconds = Annotated[int, msgspec.Meta(ge=10**15, lt=7_258_118_400_000_000)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


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


class BinanceFrames:
    """Reads the frames of the trade and book ticker streams of some symbols."""

    def __init__(self, market: str, instruments: Iterable[Instrument]) -> None:
        self._streams: dict[str, RecordStream] = {}
        for instrument in instruments:
            for feed, stream in _streams(market, instrument).items():
                self._streams[f"{instrument.symbol.lower()}@{feed}"] = stream
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._trade = msgspec.json.Decoder(_Trade)
        self._ticker = msgspec.json.Decoder(_BookTicker)

    def read(self, payload: bytes | memoryview, received_us: int) -> Accepted | Refused | Notice:
        """The meaning of one text frame. Never raises for its content."""
        try:
            envelope = self._envelope.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is a DecodeError
            return Refused(f"frame: {error}")
        stream = self._streams.get(envelope.stream)
        if stream is None:
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
        "exchange": "binance",
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


def _native_id(payload: msgspec.Raw, name: str) -> str | None:
    """The venue's id in a payload that is refused for another reason, if there is one."""
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    value = fields.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
