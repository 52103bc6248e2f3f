"""Recorded frames as a market that never ends.

A recording is a text file, gzip-compressed if its name ends in `.gz`, one frame a line:
`<receive time in ns> <combined frame as received>`. Trades and book tickers are played; every
other line (depth, snapshots) is left out. Several recordings are merged by receive time and held
in memory.

Each loop is the first one again, later by one period and with ids carried on per symbol: the
first trade of loop 2 has the id after the last trade of loop 1. Book update ids go on upwards.

The recorder's clock need not agree with the venue's: due times are receive times moved by one
constant, the smallest that lets no frame be sent before its own event time.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .errors import RecordingError, StateError
from .events import BookTicker, Instrument, Scheduled, Trade, book_ticker_stream, split_symbol, trade_stream

LOOP_PAUSE_US = 100_000
"""Market time between the last frame of a loop and the first of the next."""
_COARSEST_GRID = 10**11


class _Envelope(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw(b"")
    stream: str = ""


class _TradePayload(msgspec.Struct, gc=False):
    E: int
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class _BookTickerPayload(msgspec.Struct, gc=False):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class _Received(NamedTuple):
    received_us: int
    event: Trade | BookTicker


class RecordingSource:
    """Plays recordings in a loop; see the module for ids and times."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads all of `paths`. Raises RecordingError naming file and line."""
        digest = hashlib.sha256()
        received: list[_Received] = []
        for path in paths:
            received.extend(_read(path, digest))
        if not received:
            raise RecordingError(f"recordings {', '.join(map(str, paths))} hold no trade and no book ticker")
        received.sort(key=lambda item: item.received_us)
        trades = [(at, event) for at, event in received if isinstance(event, Trade)]
        clock_skew_us = max((trade.event_time_us - at for at, trade in trades), default=0)
        self._events = [Scheduled(at + clock_skew_us, event) for at, event in received]
        self.identity = f"recordings {digest.hexdigest()[:16]}"
        self.instruments = _instruments(self._events)
        self._period_us = self._measure_period()
        self._trade_span = _id_spans((t.symbol, t.trade_id) for _, t in trades)
        self._update_span = _id_spans(
            (event.symbol, event.update_id) for _, event in received if isinstance(event, BookTicker)
        )
        self._position = 0

    def _measure_period(self) -> int:
        dues = [due for due, _ in self._events]
        times = [event.trade_time_us for _, event in self._events if isinstance(event, Trade)]
        span = max(dues[-1] - dues[0], max(times, default=0) - min(times, default=0))
        return -(-(span + LOOP_PAUSE_US) // 1000) * 1000  # whole milliseconds keep equal ones equal

    @property
    def loop_events(self) -> int:
        """Events until the recording begins anew."""
        return len(self._events)

    def take(self, count: int, shift_us: int) -> list[Scheduled]:
        """See MarketSource."""
        taken: list[Scheduled] = []
        while len(taken) < count:
            loop, index = divmod(self._position, len(self._events))
            recorded = self._events[index : index + count - len(taken)]
            later_us = shift_us + loop * self._period_us
            for due_us, event in recorded:
                if isinstance(event, Trade):
                    moved: Trade | BookTicker = Trade(
                        event.symbol,
                        event.stream,
                        event.trade_id + loop * self._trade_span[event.symbol],
                        event.price,
                        event.quantity,
                        event.trade_time_us + later_us,
                        event.event_time_us + later_us,
                        event.buyer_is_maker,
                    )
                else:
                    assert isinstance(event, BookTicker)
                    moved = BookTicker(
                        event.symbol,
                        event.stream,
                        event.update_id + loop * self._update_span[event.symbol],
                        event.bid_price,
                        event.bid_quantity,
                        event.ask_price,
                        event.ask_quantity,
                    )
                taken.append(Scheduled(due_us + later_us, moved))
            self._position += len(recorded)
        return taken

    def next_due_us(self) -> int:
        """See MarketSource."""
        loop, index = divmod(self._position, len(self._events))
        return self._events[index].due_us + loop * self._period_us

    def position(self) -> int:
        """See MarketSource."""
        return self._position

    def cursor(self) -> dict[str, Any]:
        """See MarketSource."""
        return {"position": self._position}

    def seek(self, cursor: dict[str, Any]) -> None:
        """See MarketSource."""
        position = cursor.get("position")
        if not isinstance(position, int) or position < 0:
            raise StateError(f"position was {position!r}, must be an integer >= 0")
        self._position = position


def _read(path: Path, digest: "hashlib._Hash") -> Iterator[_Received]:
    envelope = msgspec.json.Decoder(_Envelope)
    trade = msgspec.json.Decoder(_TradePayload)
    ticker = msgspec.json.Decoder(_BookTickerPayload)
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for line in lines:
                number += 1
                digest.update(line)
                received_ns, _, text = line.partition(b" ")
                frame = envelope.decode(text)
                if frame.stream.endswith("@trade"):
                    event: Trade | BookTicker = _trade(trade.decode(frame.data))
                elif frame.stream.endswith("@bookTicker"):
                    event = _book_ticker(ticker.decode(frame.data))
                else:
                    continue
                yield _Received(int(received_ns) // 1000, event)
    except OSError as error:
        raise RecordingError(f"recording {path} cannot be read: {error}") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise RecordingError(
            f"recording {path}, line {number}: {error}; a line must be '<receive time in ns> <frame JSON>'"
        ) from error


def _trade(frame: _TradePayload) -> Trade:
    # The recordings are in milliseconds; the venue's microsecond mode multiplies both times.
    stream = trade_stream(frame.s)
    return Trade(frame.s, stream, frame.t, frame.p, frame.q, frame.T * 1000, frame.E * 1000, frame.m)


def _book_ticker(frame: _BookTickerPayload) -> BookTicker:
    stream = book_ticker_stream(frame.s)
    return BookTicker(frame.s, stream, frame.u, frame.b, frame.B, frame.a, frame.A)


def _id_spans(ids: Iterator[tuple[str, int]]) -> dict[str, int]:
    lowest: dict[str, int] = {}
    highest: dict[str, int] = {}
    for symbol, number in ids:
        lowest[symbol] = min(number, lowest.get(symbol, number))
        highest[symbol] = max(number, highest.get(symbol, number))
    return {symbol: highest[symbol] - lowest[symbol] + 1 for symbol in lowest}


def _instruments(events: Sequence[Scheduled]) -> tuple[Instrument, ...]:
    """Tick and step are not recorded: the coarsest power of ten that every value is on."""
    prices: dict[str, int] = {}
    quantities: dict[str, int] = {}
    for _, event in events:
        if isinstance(event, Trade):
            on_grid = [(prices, event.price), (quantities, event.quantity)]
        else:
            assert isinstance(event, BookTicker)
            on_grid = [(prices, event.bid_price), (quantities, event.bid_quantity)]
            on_grid += [(prices, event.ask_price), (quantities, event.ask_quantity)]
        for grid, text in on_grid:
            grid[event.symbol] = math.gcd(grid.get(event.symbol, 0), int(Decimal(text).scaleb(8)))
    return tuple(
        Instrument(
            symbol, *split_symbol(symbol), _power_of_ten(prices[symbol]), _power_of_ten(quantities[symbol])
        )
        for symbol in sorted(prices)
    )


def _power_of_ten(common: int) -> int:
    unit = 1
    while unit < _COARSEST_GRID and common % (unit * 10) == 0:
        unit *= 10
    return unit
