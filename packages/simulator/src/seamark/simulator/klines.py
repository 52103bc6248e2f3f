"""What the venue says of each minute of a symbol, from the trades that truly were.

Knows the market's events by due time, before any fault touches them. Must not know who listens, what
of it is sent, or a clock: it is a function of the events, as the source is.

Every two seconds of market time each symbol's minute is pushed; a minute is closed by the first push
that is two seconds behind its end. One without trades has no ids, and the last price.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from .events import Candle, Kline, Scheduled, Trade, kline_stream

MINUTE_US = 60_000_000
PUSH_US = 2_000_000
CLOSE_DELAY_US = 2_000_000
"""Trades reach the market's schedule sooner after their time."""
LONGEST_PAUSE_US = 600_000_000
"""Of a market that was closed for longer, nobody counted the minutes between."""
_NO_PRICE = "0.00000000"


class KlineState(msgspec.Struct, frozen=True):
    """Where the minutes stand at a position of the market. Times are shifted."""

    begins_whole: bool = True
    """False: trades of the minute that comes first were before, and nobody counted them."""
    next_push_us: int | None = None
    """None: the market has not begun."""
    oldest_us: int = 0
    """Start of the first minute that is not closed."""
    candles: list[Candle] = []
    prices: dict[str, str] = {}
    """The last one, by symbol."""


class Klines:
    """The minutes of some symbols that are not closed yet."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._streams = [(symbol, kline_stream(symbol)) for symbol in symbols]
        self.resume(KlineState())

    def state(self) -> KlineState:
        """The position, for `resume`."""
        candles, prices = list(self._candles.values()), dict(self._prices)
        return KlineState(self._begins_whole, self._next_push_us, self._oldest_us, candles, prices)

    def resume(self, state: KlineState) -> None:
        """Goes on from a position."""
        self._begins_whole, self._next_push_us = state.begins_whole, state.next_push_us
        self._oldest_us, self._prices = state.oldest_us, dict(state.prices)
        self._candles = {(one.start_us, one.symbol): one for one in state.candles}

    def pushes(self, chunk: Sequence[Scheduled]) -> list[Scheduled]:
        """The klines that are due among the next events of the market, by due time; each before the events due then."""
        found: list[Scheduled] = []
        for due_us, event in chunk:
            if self._next_push_us is None:
                self._begin(due_us)
            elif self._next_push_us <= due_us:
                found.extend(self._until(due_us))
            if isinstance(event, Trade):
                self._count(event)
        return found

    def _begin(self, due_us: int) -> None:
        self._next_push_us = -(-due_us // PUSH_US) * PUSH_US
        self._oldest_us = due_us // MINUTE_US * MINUTE_US + (0 if self._begins_whole else MINUTE_US)
        self._begins_whole = True

    def _until(self, due_us: int) -> Iterator[Scheduled]:
        assert self._next_push_us is not None
        if due_us - self._next_push_us > LONGEST_PAUSE_US:
            while self._candles:
                yield from self._close(self._oldest_us + MINUTE_US + CLOSE_DELAY_US)
            self._begin(due_us)
            return
        while self._next_push_us <= due_us:
            at_us = self._next_push_us
            while self._oldest_us + MINUTE_US + CLOSE_DELAY_US <= at_us:
                yield from self._close(at_us)
            start_us = at_us // MINUTE_US * MINUTE_US
            if start_us >= self._oldest_us:
                yield from self._said(start_us, at_us, closed=False)
            self._next_push_us += PUSH_US

    def _close(self, at_us: int) -> Iterator[Scheduled]:
        start_us = self._oldest_us
        yield from self._said(start_us, at_us, closed=True)
        self._candles = {key: one for key, one in self._candles.items() if key[0] != start_us}
        self._oldest_us += MINUTE_US

    def _said(self, start_us: int, at_us: int, closed: bool) -> Iterator[Scheduled]:
        for symbol, stream in self._streams:
            candle = self._candles.get((start_us, symbol)) or self._nothing(start_us, symbol)
            said = msgspec.structs.asdict(candle)
            kline = Kline(
                **said, stream=stream, event_time_us=at_us, end_us=start_us + MINUTE_US, closed=closed
            )
            yield Scheduled(at_us, kline)

    def _nothing(self, start_us: int, symbol: str) -> Candle:
        price, none = self._prices.get(symbol, _NO_PRICE), Decimal(0)
        return Candle(start_us, symbol, -1, -1, 0, price, price, price, price, none, none, none, none)

    def _count(self, trade: Trade) -> None:
        start_us = trade.trade_time_us // MINUTE_US * MINUTE_US
        if start_us < self._oldest_us:
            return  # of a minute that is closed, or was never counted
        key, price = (start_us, trade.symbol), trade.price
        before = self._candles.get(key)
        amount = Decimal(trade.quantity)
        value = amount * Decimal(price)
        taken, taken_value = (Decimal(0), Decimal(0)) if trade.buyer_is_maker else (amount, value)
        if before is None:
            before = self._nothing(start_us, trade.symbol)
            first_id, opened, high, low = trade.trade_id, price, price, price
        else:
            first_id, opened = before.first_id, before.open
            high, low = max(before.high, price, key=Decimal), min(before.low, price, key=Decimal)
        self._prices[trade.symbol] = price
        self._candles[key] = Candle(
            *(start_us, trade.symbol, first_id, trade.trade_id, before.trades + 1, opened, high, low, price),
            before.volume + amount,
            before.quote_volume + value,
            before.taker_volume + taken,
            before.taker_quote_volume + taken_value,
        )
