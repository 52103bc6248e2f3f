"""What the market says: the values a source yields and every later part passes on.

Prices and quantities are the text the venue sends, never numbers. Times are microseconds since
the epoch. The structs are immutable and untracked by the garbage collector: a busy second makes
tens of thousands of them.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import msgspec


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade of one symbol; `trade_id` is contiguous per symbol."""

    symbol: str
    stream: str
    trade_id: int
    price: str
    quantity: str
    trade_time_us: int
    event_time_us: int
    buyer_is_maker: bool


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """A change of the best bid or ask; `update_id` increases but is sparse. It carries no time."""

    symbol: str
    stream: str
    update_id: int
    bid_price: str
    bid_quantity: str
    ask_price: str
    ask_quantity: str


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """One minute of one symbol so far. Ids are -1 where it has no trades."""

    start_us: int
    symbol: str
    first_id: int
    last_id: int
    trades: int
    open: str
    high: str
    low: str
    close: str
    volume: Decimal
    quote_volume: Decimal
    taker_volume: Decimal
    """Bought by takers; so is the next."""
    taker_quote_volume: Decimal


class Kline(Candle, frozen=True):
    """What a candle has come to, as the venue says it; for good if `closed`."""

    stream: str
    event_time_us: int
    end_us: int
    """Exclusive."""
    closed: bool


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """A frame no client can accept, sent in addition to the good ones.

    It is made from a trade. With `truncated` the frame breaks off in the middle, so that it is not
    JSON; else the trade itself holds a value that no field can take.
    """

    symbol: str
    stream: str
    trade: Trade
    truncated: bool


MarketEvent = Trade | BookTicker | Kline | Malformed


class Scheduled(NamedTuple):
    """An event and the market time (microseconds) at which a client may first see it."""

    due_us: int
    event: MarketEvent


def trade_stream(symbol: str) -> str:
    """The stream name of a symbol's trades: `BTCUSDT` -> `btcusdt@trade`."""
    return f"{symbol.lower()}@trade"


def book_ticker_stream(symbol: str) -> str:
    """The stream name of a symbol's best bid and ask: `BTCUSDT` -> `btcusdt@bookTicker`."""
    return f"{symbol.lower()}@bookTicker"


def kline_stream(symbol: str) -> str:
    """The stream name of a symbol's minutes: `BTCUSDT` -> `btcusdt@kline_1m`."""
    return f"{symbol.lower()}@kline_1m"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What `exchangeInfo` says of a symbol. `tick` and `step` are in units of 1e-8."""

    symbol: str
    base_asset: str
    quote_asset: str
    tick: int
    step: int


_QUOTE_ASSETS = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY")


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a symbol: `BTCUSDT` -> (`BTC`, `USDT`).

    A symbol that ends in no known quote asset is taken to have none (the venue's own list is the
    only other source, and recordings do not carry it).
    """
    for quote in _QUOTE_ASSETS:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    return symbol, ""


def decimal_text(scaled: int) -> str:
    """A non-negative amount in units of 1e-8 as the venue writes it: 8 decimals, no exponent."""
    return f"{scaled // 100_000_000}.{scaled % 100_000_000:08d}"
