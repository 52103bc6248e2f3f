"""Trades that every reader of the log accepts, and those that every reader refuses."""

from __future__ import annotations

from corpus.frames import branch_cases, frame_cases
from corpus.wire import (
    LATEST_US,
    NULL,
    Case,
    accept,
    array,
    blob,
    decimal,
    frame,
    long,
    padded,
    reject,
    some,
    text,
)

SCHEMA_ID = 1

TRADE = {
    "exchange": text("binance"),
    "market": text("spot"),
    "feed": text("trade"),
    "symbol": text("BTCUSDT"),
    "source_sequence": some(long(3_735_683_259)),
    "native_id": NULL,
    "timestamp": long(1_723_161_255_342_000),
    "published_timestamp": NULL,
    "ingestion_timestamp": long(1_723_161_255_343_000),
    "price": decimal(618_376_300_000_000),
    "quantity": decimal(200_000_000),
    "currency": text("USDT"),
    "side": long(0),
    "trade_conditions": NULL,
    "origin": long(0),
    "correction_of": NULL,
    "vendor_data": NULL,
}

NULLABLE = {
    "source_sequence": long(3_735_683_260),
    "native_id": text("x7"),
    "published_timestamp": long(1_723_161_255_343_000),
    "trade_conditions": array(text("a"), text("bc")),
    "correction_of": text("BINANCE-3735683259"),
    "vendor_data": text("{}"),
}


def trade(**changed: bytes) -> bytes:
    """A good trade, some of its fields as given."""
    return frame(SCHEMA_ID, {**TRADE, **changed})


_BODY = "body of schema id 1"
_TIME = "must be microseconds of 1970-01-01 to 2199-12-31"

CASES: tuple[Case, ...] = (
    *frame_cases(trade(), other_id=2),
    *branch_cases(trade, NULLABLE, needed="source_sequence"),
    # decimal(28,10)
    accept("28 digits", trade(price=decimal(10**28 - 1))),
    accept("28 digits below zero", trade(price=decimal(-(10**28) + 1))),
    accept("zero", trade(price=decimal(0), quantity=decimal(0))),
    accept("decimal of no bytes, which is zero", trade(price=blob(b""))),
    accept("decimal in 16 bytes where 1 would do", trade(price=decimal(1, 16))),
    accept("decimal in 17 bytes where 1 would do", trade(price=decimal(1, 17))),
    accept("negative decimal in 17 bytes", trade(price=decimal(-1, 17))),
    reject(
        "29 digits", trade(price=decimal(10**28)), "price was 1000000000000000000, must be decimal(28,10)"
    ),
    reject("29 digits below zero", trade(quantity=decimal(-(10**28))), "quantity was -1000000000000000000,"),
    reject("38 digits", trade(price=decimal(10**38 - 1)), "must be decimal(28,10)"),
    reject("more than 38 digits in 16 bytes", trade(price=decimal(2**127 - 1)), "must be decimal(28,10)"),
    reject("17 bytes that are needed", trade(price=decimal(2**130)), _BODY),
    reject("a kilobyte of digits", trade(price=decimal(2**8000)), _BODY),
    reject("decimal of a negative length", trade(price=long(-1) + b"\x01"), _BODY),
    reject("decimal longer than the record", trade(price=long(10_000) + b"\x01"), _BODY),
    # times
    accept("the first microsecond of 1970", trade(timestamp=long(0), ingestion_timestamp=long(0))),
    accept("the last microsecond of 2199", trade(timestamp=long(LATEST_US))),
    accept("a published time", trade(published_timestamp=some(long(1)))),
    reject("before 1970", trade(timestamp=long(-1)), f"timestamp was -1, {_TIME}"),
    reject("2200", trade(timestamp=long(LATEST_US + 1)), f"timestamp was {LATEST_US + 1}, {_TIME}"),
    reject("a time no calendar has", trade(timestamp=long(2**62)), f"timestamp was {2**62}, {_TIME}"),
    reject("earliest possible long as a time", trade(timestamp=long(-(2**63))), _TIME),
    reject(
        "published in 2200", trade(published_timestamp=some(long(LATEST_US + 1))), "published_timestamp was"
    ),
    reject("received before 1970", trade(ingestion_timestamp=long(-5)), "ingestion_timestamp was -5"),
    # ids
    accept("id 0", trade(source_sequence=some(long(0)))),
    accept("the greatest id", trade(source_sequence=some(long(2**63 - 1)))),
    accept("an id in more bytes than needed", trade(source_sequence=some(padded(long(1), 4)))),
    accept("an id in the ten bytes a long may have", trade(source_sequence=some(padded(long(1), 10)))),
    reject("no id", trade(source_sequence=NULL), "source_sequence was None, must be 0 or more"),
    reject(
        "a text id alone", trade(source_sequence=NULL, native_id=some(text("x7"))), "source_sequence was None"
    ),
    reject("negative id", trade(source_sequence=some(long(-1))), "source_sequence was -1, must be 0 or more"),
    reject("id beyond 64 bits", trade(source_sequence=some(long(2**63))), _BODY),
    reject("id in eleven bytes", trade(source_sequence=some(padded(long(1), 11))), _BODY),
    # numbers in more bytes than they need
    accept("a length in two bytes", trade(symbol=padded(long(7), 2) + b"BTCUSDT")),
    accept("a length in ten bytes", trade(symbol=padded(long(7), 10) + b"BTCUSDT")),
    accept("length 0 in ten bytes", trade(price=padded(long(0), 10))),
    accept("a decimal's length in three bytes", trade(price=padded(long(2), 3) + b"\x01\x00")),
    accept("a time in ten bytes", trade(timestamp=padded(long(1_723_161_255_342_000), 10))),
    accept("an enum in ten bytes", trade(side=padded(long(3), 10))),
    accept(
        "an array's counts in ten bytes",
        trade(trade_conditions=some(padded(long(1), 10) + text("a") + padded(long(0), 10))),
    ),
    reject("a length in eleven bytes", trade(symbol=padded(long(7), 11) + b"BTCUSDT"), _BODY),
    reject("an enum in eleven bytes", trade(side=padded(long(3), 11)), _BODY),
    # text
    accept("symbol of 64 bytes", trade(symbol=text("A" * 64))),
    accept("symbol of 64 bytes in 16 characters", trade(symbol=text("🚀" * 16))),
    accept("symbol with a zero byte", trade(symbol=text("A\0B"))),
    accept("symbol of other letters", trade(symbol=text("币安人生USDT"))),
    accept("empty currency", trade(currency=text(""))),
    accept("a long vendor text", trade(vendor_data=some(text("v" * 20_000)))),
    reject("empty symbol", trade(symbol=text("")), "symbol was '', must be 1 to 64 bytes"),
    reject("symbol of 65 bytes", trade(symbol=text("A" * 65)), "(65 characters), must be 1 to 64 bytes"),
    reject("symbol of 68 bytes in 17 characters", trade(symbol=text("🚀" * 17)), "must be 1 to 64 bytes"),
    reject("empty exchange", trade(exchange=text("")), "exchange was '', must be 1 to 64 bytes"),
    reject("symbol not UTF-8", trade(symbol=blob(b"BTC\xff\xfe")), _BODY),
    reject("symbol with half a character", trade(symbol=blob("币".encode()[:2])), _BODY),
    reject("a surrogate as text", trade(symbol=blob(b"\xed\xa0\x80")), _BODY),
    reject("vendor text not UTF-8", trade(vendor_data=some(blob(b"\xc3\x28"))), _BODY),
    # enums and branches
    accept("last side", trade(side=long(3))),
    accept("last origin", trade(origin=long(2))),
    reject("side behind the last", trade(side=long(4)), _BODY),
    reject("side -1", trade(side=long(-1)), _BODY),
    reject("side of another record", trade(side=long(2**40)), _BODY),
    reject("origin behind the last", trade(origin=long(3)), _BODY),
    reject("a branch without its value", trade(vendor_data=long(1)), _BODY),
    # arrays
    accept("no conditions", trade(trade_conditions=some(array()))),
    accept("two conditions", trade(trade_conditions=some(array(text("a"), text("b"))))),
    accept(
        "two blocks of conditions",
        trade(trade_conditions=some(long(1) + text("a") + long(1) + text("b") + long(0))),
    ),
    accept(
        "a block with its size in bytes",
        trade(trade_conditions=some(long(-2) + long(4) + text("a") + text("b") + long(0))),
    ),
    reject("more conditions than bytes", trade(trade_conditions=some(long(1_000_000) + text("a"))), _BODY),
    reject("2^60 conditions", trade(trade_conditions=some(long(2**60) + text("a") + long(0))), _BODY),
    reject("-2^63 conditions", trade(trade_conditions=some(long(-(2**63)) + long(4) + text("a"))), _BODY),
    reject("an array without its end", trade(trade_conditions=some(long(1) + text("a")), origin=b""), _BODY),
    reject("a condition not UTF-8", trade(trade_conditions=some(array(blob(b"\xff")))), _BODY),
    # feeds
    reject(
        "a feed whose numbers are ranges",
        trade(feed=text("aggTrade")),
        "feed was binance:spot:aggTrade (sequence range), must be one of binance:spot:trade for trades",
    ),
    reject("a feed without numbers", trade(feed=text("blockTrade")), "(sequence none)"),
    reject("a feed nobody has named", trade(feed=text("zz")), "(sequence unknown)"),
    reject("a feed of quotes", trade(feed=text("bookTicker")), "(sequence monotone)"),
    reject("a market of other numbers", trade(market=text("usdm")), "binance:usdm:trade (sequence unknown)"),
    reject("a venue nobody has named", trade(exchange=text("mtgox")), "mtgox:spot:trade"),
    # a schema of one kind less a field, as an older producer might send it
    reject("without its last field", trade(vendor_data=b""), _BODY),
    reject("all zeros", frame(SCHEMA_ID, {"zeros": b"\x00" * 40}), _BODY),
    reject("all ones", frame(SCHEMA_ID, {"ones": b"\xff" * 40}), _BODY),
)
