"""A seeded market that never ends, at any rate.

Each block of market time is drawn from its own random stream, keyed by (seed, symbol, block), and
from what the block before handed over. A position is therefore cheap to return to: the state file
keeps the hand-over of the current block and how far into it the run has come.

Market time starts at 0; the caller's shift moves it to the clock.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import StateError
from .events import (
    BookTicker,
    Instrument,
    MarketEvent,
    Scheduled,
    Trade,
    book_ticker_stream,
    decimal_text,
    trade_stream,
)
from .instruments import Listing, listing
from .price_path import EVENT_DELAY_US, Carry, Integers, Quotes, Trades, draw_block

_BLOCK_FRAMES = 20_000
_LONGEST_BLOCK_SECONDS = 10
_FIRST_TRADE_ID = 3_000_000_000  # ids beyond 32 bits, as the venue's are
_FIRST_UPDATE_ID = 50_000_000_000
_QUOTE_DELAY_US = EVENT_DELAY_US + 100  # after the trades that moved the book


class GeneratorSource:
    """Trades and book tickers of `symbols`; see price_path for the model."""

    def __init__(self, symbols: Sequence[str], frames_per_second: float, seed: int) -> None:
        """`frames_per_second` is the mean over time of trades and book tickers, all symbols together."""
        self.identity = f"generator seed={seed} rate={frames_per_second:g} symbols={','.join(symbols)}"
        self._listings = [listing(symbol) for symbol in symbols]
        self._frames_per_second = frames_per_second / len(symbols)
        self._names = [(symbol, trade_stream(symbol), book_ticker_stream(symbol)) for symbol in symbols]
        self._seed = seed
        self._seconds = max(1, min(_LONGEST_BLOCK_SECONDS, int(_BLOCK_FRAMES / frames_per_second)))
        self._position = 0
        self._offset = 0
        self._start(0, [_first_carry(each) for each in self._listings])

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """See MarketSource."""
        return tuple(each.instrument for each in self._listings)

    def take(self, count: int, shift_us: int) -> list[Scheduled]:
        """See MarketSource."""
        taken: list[Scheduled] = []
        while len(taken) < count:
            self._skip_empty_blocks()
            until: int = min(self._offset + count - len(taken), self._columns.shape[1])
            rows = self._columns[:, self._offset : until].tolist()
            taken.extend(self._event(shift_us, *row) for row in zip(*rows, strict=True))
            self._position += until - self._offset
            self._offset = until
        return taken

    def next_due_us(self) -> int:
        """See MarketSource."""
        self._skip_empty_blocks()
        return int(self._columns[0, self._offset])

    def position(self) -> int:
        """See MarketSource."""
        return self._position

    def cursor(self) -> dict[str, Any]:
        """See MarketSource."""
        return {
            "position": self._position,
            "block": self._block,
            "offset": self._offset,
            "carry": [carry.to_json() for carry in self._carries],
        }

    def seek(self, cursor: dict[str, Any]) -> None:
        """See MarketSource."""
        try:
            position, offset = int(cursor["position"]), int(cursor["offset"])
            carries = [Carry(*values) for values in cursor["carry"]]
            block = int(cursor["block"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"cursor must hold position, block, offset and carry: {error!r}") from error
        if len(carries) != len(self._listings):
            raise StateError(f"carry had {len(carries)} entries, must have one for each symbol")
        self._start(block, carries)
        if not 0 <= offset <= self._columns.shape[1]:
            raise StateError(f"offset was {offset}, must be within 0 and {self._columns.shape[1]}")
        self._offset = offset
        self._position = position

    def _start(self, block: int, carries: list[Carry]) -> None:
        """Draws a block and merges its symbols by due time into one array, a column an event."""
        self._block, self._carries, self._offset = block, carries, 0
        self._next_carries: list[Carry] = []
        parts: list[Integers] = []
        start_us = block * self._seconds * 1_000_000
        for index, (each, carry) in enumerate(zip(self._listings, carries, strict=True)):
            key = [self._seed, zlib.crc32(each.instrument.symbol.encode()), block]
            trades, quotes, after = draw_block(
                each, self._frames_per_second, start_us, self._seconds, carry, key
            )
            self._next_carries.append(after)
            parts += [_trade_columns(index, each.instrument, trades)]
            parts += [_quote_columns(index, each.instrument, quotes)]
        columns = np.concatenate(parts, axis=1)
        self._columns: Integers = columns[:, np.argsort(columns[0], kind="stable")]

    def _skip_empty_blocks(self) -> None:
        while self._offset == self._columns.shape[1]:
            self._start(self._block + 1, self._next_carries)

    def _event(
        self, shift_us: int, due_us: int, symbol_and_kind: int, number: int, time_us: int, *values: int
    ) -> Scheduled:
        symbol, trades, quotes = self._names[symbol_and_kind >> 1]
        event: MarketEvent
        if symbol_and_kind & 1:
            event = BookTicker(symbol, quotes, number, *map(decimal_text, values))
        else:
            price, quantity, buyer_is_maker, _ = values
            texts = decimal_text(price), decimal_text(quantity)
            time_us += shift_us
            event = Trade(
                symbol, trades, number, *texts, time_us, time_us + EVENT_DELAY_US, buyer_is_maker == 1
            )
        return Scheduled(due_us + shift_us, event)


def _first_carry(each: Listing) -> Carry:
    spread = zlib.crc32(each.instrument.symbol.encode())
    return Carry(each.first_price_ticks, _FIRST_TRADE_ID + spread, _FIRST_UPDATE_ID + spread, 0.0)


def _trade_columns(index: int, instrument: Instrument, trades: Trades) -> Integers:
    """Rows: due, symbol and kind, id, time, then price, quantity, buyer is maker, unused."""
    return np.stack(
        [
            trades.time_us + EVENT_DELAY_US,
            np.full_like(trades.time_us, 2 * index),
            trades.trade_id,
            trades.time_us,
            trades.price * instrument.tick,
            trades.quantity * instrument.step,
            trades.buyer_is_maker,
            np.zeros_like(trades.time_us),
        ]
    )


def _quote_columns(index: int, instrument: Instrument, quotes: Quotes) -> Integers:
    """Rows: due, symbol and kind, id, time, then bid, its quantity, ask, its quantity."""
    return np.stack(
        [
            quotes.time_us + _QUOTE_DELAY_US,
            np.full_like(quotes.time_us, 2 * index + 1),
            quotes.update_id,
            quotes.time_us,
            quotes.bid * instrument.tick,
            quotes.bid_quantity * instrument.step,
            quotes.ask * instrument.tick,
            quotes.ask_quantity * instrument.step,
        ]
    )
