"""Quotes that every reader of the log accepts, and those that every reader refuses."""

from __future__ import annotations

from corpus.frames import branch_cases, frame_cases
from corpus.wire import NULL, Case, accept, decimal, frame, long, reject, some, text

SCHEMA_ID = 2

QUOTE = {
    "exchange": text("binance"),
    "market": text("spot"),
    "feed": text("bookTicker"),
    "symbol": text("BTCUSDT"),
    "source_sequence": some(long(400_900_217)),
    "native_id": NULL,
    "timestamp": long(1_723_161_255_342_000),
    "published_timestamp": NULL,
    "ingestion_timestamp": long(1_723_161_255_342_000),
    "timestamp_source": long(1),
    "bid_price": decimal(618_376_300_000_000),
    "bid_quantity": decimal(200_000_000),
    "ask_price": decimal(618_376_400_000_000),
    "ask_quantity": decimal(1),
    "currency": text("USDT"),
    "origin": long(0),
    "vendor_data": NULL,
}

NULLABLE = {
    "source_sequence": long(400_900_218),
    "native_id": text("x7"),
    "published_timestamp": long(1_723_161_255_343_000),
    "vendor_data": text("{}"),
}


def quote(**changed: bytes) -> bytes:
    """A good quote, some of its fields as given."""
    return frame(SCHEMA_ID, {**QUOTE, **changed})


CASES: tuple[Case, ...] = (
    *frame_cases(quote(), other_id=1),
    *branch_cases(quote, NULLABLE, needed="source_sequence"),
    accept("an empty side of the book", quote(bid_price=decimal(0), bid_quantity=decimal(0))),
    accept("a crossed book", quote(bid_price=decimal(3), ask_price=decimal(2))),
    accept("the venue's clock", quote(timestamp_source=long(0))),
    reject("a third clock", quote(timestamp_source=long(2)), "body of schema id 2"),
    reject("ask price of 29 digits", quote(ask_price=decimal(10**28)), "ask_price was 1000000000000000000,"),
    reject("bid quantity of 29 digits", quote(bid_quantity=decimal(-(10**28))), "bid_quantity was"),
    reject("no update id", quote(source_sequence=NULL), "source_sequence was None"),
    reject("negative update id", quote(source_sequence=some(long(-7))), "source_sequence was -7"),
    reject(
        "a feed of trades",
        quote(feed=text("trade")),
        "(sequence contiguous), must be one of binance:spot:bookTicker for quotes",
    ),
    reject("empty symbol", quote(symbol=text("")), "symbol was ''"),
)
