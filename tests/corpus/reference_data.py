"""Instruments that every reader of the log accepts, and those that every reader refuses."""

from __future__ import annotations

from corpus.frames import branch_cases, frame_cases
from corpus.wire import NULL, Case, accept, decimal, frame, long, reject, some, text

SCHEMA_ID = 3

INSTRUMENT = {
    "event_id": text("binance:spot:BTCUSDT:2024-08-08:0123456789abcdef"),
    "exchange": text("binance"),
    "market": text("spot"),
    "symbol": text("BTCUSDT"),
    "timestamp": long(1_723_161_255_342_000),
    "ingestion_timestamp": long(1_723_161_255_343_000),
    "status": text("TRADING"),
    "base_currency": some(text("BTC")),
    "currency": text("USDT"),
    "tick_size": some(decimal(100_000_000)),
    "step_size": some(decimal(100_000)),
    "native_id": NULL,
    "name": NULL,
    "isin": NULL,
    "listing_date": NULL,
    "delisting_date": NULL,
    "vendor_data": NULL,
}

NULLABLE = {
    "base_currency": text("BTC"),
    "tick_size": decimal(100_000_000),
    "step_size": decimal(0),
    "native_id": text("x7"),
    "name": text("Bitcoin"),
    "isin": text("XT0000000000"),
    "listing_date": long(17_394),
    "delisting_date": long(-1),
    "vendor_data": text("{}"),
}


def instrument(**changed: bytes) -> bytes:
    """A good instrument, some of its fields as given."""
    return frame(SCHEMA_ID, {**INSTRUMENT, **changed})


_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
_DATE = "must be a day of 0001-01-01 to 9999-12-31"

CASES: tuple[Case, ...] = (
    *frame_cases(instrument(), other_id=4),
    *branch_cases(instrument, NULLABLE),
    accept("steps unknown", instrument(tick_size=NULL, step_size=NULL)),
    accept("any venue and market", instrument(exchange=text("xnys"), market=text("main"))),
    accept("listed before 1970", instrument(listing_date=some(long(-28_000)))),
    accept(
        "the first and the last day",
        instrument(listing_date=some(long(_FIRST_DAY)), delisting_date=some(long(_LAST_DAY))),
    ),
    accept("event id of 256 bytes", instrument(event_id=text("e" * 256))),
    reject("event id of 257 bytes", instrument(event_id=text("e" * 257)), "event_id was"),
    reject("empty event id", instrument(event_id=text("")), "event_id was '', must be 1 to 256 bytes"),
    reject(
        "tick of 29 digits", instrument(tick_size=some(decimal(10**28))), "tick_size was 1000000000000000000,"
    ),
    reject("listed before there were years", instrument(listing_date=some(long(_FIRST_DAY - 1))), _DATE),
    reject("delisted in 10000", instrument(delisting_date=some(long(_LAST_DAY + 1))), _DATE),
    reject("a day no int holds", instrument(listing_date=some(long(2**31))), "body of schema id 3"),
    reject("empty symbol", instrument(symbol=text("")), "symbol was ''"),
)
