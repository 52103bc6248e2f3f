"""Frames to records: what the venue sends, and what it must never send."""

import gzip
import json
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.ingestor.frames import BinanceFrames
from seamark.ingestor.venue import Accepted, Announced, Instrument, Notice, Refused
from seamark.market import decimals
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder

RECORDINGS = sorted((Path(__file__).parents[4] / "shared" / "marketdata").glob("*.jsonl.gz"))
RECEIVED_US = 1_723_161_255_400_123
SYMBOLS = ("BTCUSDT", "ETHUSDT")
INSTRUMENTS = [
    Instrument(symbol, "TRADING", symbol[:3], "USDT", 10**8, 10**5, RECEIVED_US, "{}") for symbol in SYMBOLS
]
READER = BinanceFrames("spot", INSTRUMENTS)

TRADE = {
    "e": "trade",
    "E": 1_723_161_255_343_001,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1_723_161_255_342_002,
    "m": True,
    "M": True,
}
TICKER = {
    "u": 400900217,
    "s": "BTCUSDT",
    "b": "25.35190000",
    "B": "31.21000000",
    "a": "25.36520000",
    "A": "40.66000000",
}


CANDLE = {
    "t": 1_723_161_240_000_000,
    "T": 1_723_161_299_999_999,
    "s": "BTCUSDT",
    "i": "1m",
    "f": 3735683259,
    "L": 3735683358,
    "o": "61837.63000000",
    "c": "61840.00000000",
    "h": "61850.00000000",
    "l": "61830.00000000",
    "v": "12.50000000",
    "n": 100,
    "x": True,
    "q": "772937.50000000",
    "V": "5.00000000",
    "Q": "309000.00000000",
    "B": "0",
}
KLINE = {"e": "kline", "E": 1_723_161_300_012_345, "s": "BTCUSDT", "k": CANDLE}
NO_TRADES = {"n": 0, "f": -1, "L": -1}


def candle(**changed):
    """A kline, something in its candle changed."""
    return KLINE | {"k": CANDLE | changed}


def combined(stream, data):
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def read(stream, data):
    return READER.read(combined(stream, data), RECEIVED_US)


def whole(found):
    """Every field of the record that is not null."""
    fields = {**found.stream.constants, **found.record}
    assert len(fields) == len(found.stream.constants) + len(found.record)
    return {name: value for name, value in fields.items() if value is not None}


def encoded(found):
    stream = found.stream
    return Encoder(stream.kind, 1, stream.constants, stream.present).encode(found.record)


def test_a_trade_is_read_as_documented():
    found = read("btcusdt@trade", TRADE)
    assert (found.stream.kind, found.stream.symbol) == (RecordKind.TRADES, "BTCUSDT")
    assert (found.venue_us, found.published_us) == (TRADE["T"], TRADE["E"])
    assert whole(found) == {
        "exchange": "binance",
        "market": "spot",
        "feed": "trade",
        "symbol": "BTCUSDT",
        "source_sequence": 3735683259,
        "timestamp": TRADE["T"],
        "published_timestamp": TRADE["E"],
        "ingestion_timestamp": RECEIVED_US,
        "price": decimals.to_bytes(618376300000000),
        "quantity": decimals.to_bytes(200000000),
        "currency": "USDT",
        "side": "SELL",
        "origin": "STREAM",
    }


def test_the_aggressor_bought_where_the_buyer_was_not_the_maker():
    assert read("btcusdt@trade", TRADE | {"m": False}).record["side"] == "BUY"


def test_a_book_ticker_has_no_time_but_that_of_its_receipt():
    found = read("btcusdt@bookTicker", TICKER)
    assert found.stream.kind is RecordKind.QUOTES
    assert found.venue_us is None
    assert whole(found) == {
        "exchange": "binance",
        "market": "spot",
        "feed": "bookTicker",
        "symbol": "BTCUSDT",
        "source_sequence": 400900217,
        "timestamp": RECEIVED_US,
        "ingestion_timestamp": RECEIVED_US,
        "timestamp_source": "RECEIVE",
        "bid_price": decimals.to_bytes(decimals.parse("25.3519", "")),
        "bid_quantity": decimals.to_bytes(decimals.parse("31.21", "")),
        "ask_price": decimals.to_bytes(decimals.parse("25.3652", "")),
        "ask_quantity": decimals.to_bytes(decimals.parse("40.66", "")),
        "currency": "USDT",
        "origin": "STREAM",
    }


@pytest.mark.parametrize(
    ("stream", "data", "kind"),
    [("ethusdt@trade", TRADE, RecordKind.TRADES), ("ethusdt@bookTicker", TICKER, RecordKind.QUOTES)],
)
def test_what_is_accepted_can_be_encoded(stream, data, kind):
    found = read(stream, data | {"s": "ETHUSDT"})
    assert encoded(found) == Encoder(kind, 1).encode(whole(found))


def test_fields_that_the_venue_adds_one_day_do_no_harm():
    assert isinstance(read("btcusdt@trade", TRADE | {"new": [1, {"x": None}]}), Accepted)


def test_a_shutdown_notice_is_no_record_and_no_error():
    assert isinstance(read("!serverShutdown", {"e": "serverShutdown", "E": 1770123456789}), Notice)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"p": "1.000000000001"}, "price was '1.000000000001'"),
        ({"q": "1" * 19}, "quantity was"),
        ({"p": "1e5"}, "price was '1e5'"),
        ({"p": ""}, "price was ''"),
        ({"p": 61837.63}, "Expected `str`, got `float`"),
        ({"t": "3735683259"}, "Expected `int`"),
        ({"t": -1}, "t`"),
        ({"t": 2**63}, "t`"),
        ({"m": None}, "Expected `bool`"),
        ({"T": 1_723_161_255_342}, "T`"),
        ({"E": 2**63}, "E`"),
        ({"e": "aggTrade"}, "e`"),
        ({"s": "ETHUSDT"}, "symbol was 'ETHUSDT', must be BTCUSDT"),
    ],
)
def test_a_trade_that_breaks_the_contract_is_refused_with_its_reason_and_id(change, reason):
    found = read("btcusdt@trade", TRADE | change)
    assert isinstance(found, Refused)
    assert reason in found.reason
    assert (found.feed, found.symbol) == ("trade", "BTCUSDT")
    number = (TRADE | change)["t"]
    assert found.native_id == (str(number) if isinstance(number, int) else None)


@pytest.mark.parametrize("missing", [name for name in TRADE if name != "M"])
def test_a_trade_without_a_field_is_refused(missing):
    data = {name: value for name, value in TRADE.items() if name != missing}
    assert isinstance(read("btcusdt@trade", data), Refused)


def test_a_closed_kline_is_an_event_about_the_trades_of_its_minute():
    found = read("btcusdt@kline_1m", KLINE)
    assert isinstance(found, Announced)
    assert found.key == "binance:BTCUSDT"
    assert found.event == {
        "event_id": "binance:spot:trade:BTCUSDT:INTERVAL_CLOSED:1723161240000000:1723161300000000",
        "kind": "INTERVAL_CLOSED",
        "exchange": "binance",
        "market": "spot",
        "timestamp": RECEIVED_US,
        "venue_timestamp": 1_723_161_300_000_000,
        "feed": "trade",
        "symbol": "BTCUSDT",
        "first_sequence": 3735683259,
        "last_sequence": 3735683358,
        "detail": '{"start_us":1723161240000000,"trades":100}',
    }
    Encoder(RecordKind.FEED_EVENTS, 5).encode(found.event)


def test_a_closed_kline_without_trades_is_an_event_without_ids():
    event = read("btcusdt@kline_1m", candle(**NO_TRADES)).event
    assert (event["first_sequence"], event["last_sequence"]) == (None, None)
    assert event["detail"].endswith('"trades":0}')


@pytest.mark.parametrize("change", [{}, NO_TRADES, {"n": 7}])
def test_a_kline_that_is_not_closed_is_no_record_and_no_refusal(change):
    assert read("btcusdt@kline_1m", candle(**change, x=False)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"f": 9, "L": 8, "n": 1}, "f and L were 9 and 8, must be 0 or more and ascending where n is 1"),
        ({"f": -1, "L": 8, "n": 10}, "f and L were -1 and 8, must be 0 or more"),
        ({"n": 99}, "n was 99, must be 100: the ids 3735683259 to 3735683358"),
        ({"n": 0}, "f and L were 3735683259 and 3735683358, must be -1 where n is 0"),
        ({"n": -1}, "n`"),
        ({"f": -2}, "f`"),
        ({"L": 2**63}, "L`"),
        ({"i": "5m"}, "interval was '5m', must be 1m"),
        ({"s": "ETHUSDT"}, "symbol was 'ETHUSDT', must be BTCUSDT"),
        ({"t": 1_723_161_241_000_000}, "must be a whole minute of microseconds"),
        ({"T": 1_723_161_359_999_999}, "must be a whole minute of microseconds"),
        ({"t": 1_723_161_240_000, "T": 1_723_161_299_999}, "t`"),
        ({"x": "true"}, "Expected `bool`"),
        ({"f": "1"}, "Expected `int`"),
    ],
)
def test_a_kline_that_breaks_the_contract_is_refused_and_names_no_trade(change, reason):
    found = read("btcusdt@kline_1m", candle(**change))
    assert isinstance(found, Refused)
    assert found.reason.startswith("btcusdt@kline_1m: ")
    assert reason in found.reason
    assert (found.feed, found.symbol, found.native_id) == ("kline_1m", "BTCUSDT", None)


@pytest.mark.parametrize("missing", ["t", "T", "s", "i", "f", "L", "n", "x"])
def test_a_kline_without_a_field_is_refused(missing):
    data = KLINE | {"k": {name: value for name, value in CANDLE.items() if name != missing}}
    assert isinstance(read("btcusdt@kline_1m", data), Refused)


def test_a_kline_of_another_symbol_than_its_candle_is_refused():
    assert isinstance(read("btcusdt@kline_1m", KLINE | {"s": "ETHUSDT"}), Refused)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"stream":"btcusdt@trade"}',
        b'{"stream":1,"data":{}}',
        b'{"result":null,"id":1}',
        combined("btcusdt@trade", TRADE)[:-1],
        combined("btcusdt@trade", TRADE)[: len(combined("btcusdt@trade", TRADE)) * 2 // 3],
        combined("btcusdt@trade", TRADE) + b"x",
        combined("btcusdt@aggTrade", TRADE),
        combined("BTCUSDT@trade", TRADE),
        combined("btcusdt@trade", None),
        combined("btcusdt@trade", [TRADE]),
        combined("btcusdt@trade", "\ud800").replace(b"\\ud800", b"\\ud800\\ud800"),
        combined("btcusdt@trade", TRADE).replace(b"BTCUSDT", b"\xff\xff\xff\xff\xff\xff\xff"),
        combined("btcusdt@bookTicker", TRADE),
        combined("btcusdt@trade", TICKER),
        combined("btcusdt@trade", KLINE),
        combined("btcusdt@kline_1m", TRADE),
        combined("btcusdt@kline_5m", KLINE),
        combined("btcusdt@kline_1m", KLINE)[:-1],
        combined("btcusdt@kline_1m", KLINE).replace(b"BTCUSDT", b"\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_other_frames_are_refused_and_never_raise(frame):
    found = READER.read(frame, RECEIVED_US)
    assert isinstance(found, Refused)
    assert found.reason


@pytest.mark.skipif(not RECORDINGS, reason="recorded frames are not beside this folder")
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name)
def test_recorded_frames_are_read_field_by_field(recording):
    kinds = set()
    with gzip.open(recording, "rt") as lines:
        for line in islice(lines, 20_000):
            frame = json.loads(line.split(" ", 1)[1])
            if not frame.get("stream", "").endswith(("@trade", "@bookTicker")):
                continue
            data = frame["data"]
            if "T" in data:  # recorded in milliseconds
                data |= {"T": data["T"] * 1000, "E": data["E"] * 1000}
            found = read(frame["stream"], data)
            record = whole(found)
            assert record["source_sequence"] == data.get("t", data.get("u"))
            fields = {"p": "price", "q": "quantity", "b": "bid_price", "B": "bid_quantity"}
            for name, field in (fields | {"a": "ask_price", "A": "ask_quantity"}).items():
                if name in data:
                    unscaled = int.from_bytes(record[field], "big", signed=True)
                    assert Decimal(data[name]) == Decimal(unscaled).scaleb(-10)
            kinds.add(found.stream.kind)
    assert kinds == {RecordKind.TRADES, RecordKind.QUOTES}


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(frame):
    assert isinstance(READER.read(frame, RECEIVED_US), Refused)


@given(
    st.data(),
    st.sampled_from([("btcusdt@trade", TRADE), ("btcusdt@bookTicker", TICKER), ("btcusdt@kline_1m", KLINE)]),
)
def test_a_damaged_frame_is_refused_or_is_the_frame_it_then_reads(data, original):
    frame = bytearray(combined(*original))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    found = READER.read(bytes(frame), RECEIVED_US)
    if isinstance(found, Accepted):
        encoded(found)
    elif isinstance(found, Announced):
        Encoder(RecordKind.FEED_EVENTS, 5).encode(found.event)
