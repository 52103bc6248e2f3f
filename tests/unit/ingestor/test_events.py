"""Feed events of a session: what they hold can be encoded, and their names repeat."""

import json

from seamark.ingestor.events import SessionEvents, interval_closed, symbol_key
from seamark.ingestor.progress import Claim
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder

NOW_US = 1_723_161_255_400_123


def events():
    return SessionEvents("binance", "spot", 3, "a", "a-3-1", {"trades": "T" * 22, "quotes": "Q" * 22})


MINUTE_US = 60_000_000
START_US = NOW_US // MINUTE_US * MINUTE_US


def closed_minute(symbol="BTCUSDT", start_us=START_US, ids=(5, 9), now_us=NOW_US):
    return interval_closed("binance", "spot", "trade", symbol, start_us, start_us + MINUTE_US, ids, now_us)


def test_a_closed_interval_says_which_ids_are_all_there_are():
    event = closed_minute()
    assert (event["kind"], event["feed"], event["symbol"]) == ("INTERVAL_CLOSED", "trade", "BTCUSDT")
    assert (event["first_sequence"], event["last_sequence"]) == (5, 9)
    assert (event["venue_timestamp"], event["timestamp"]) == (START_US + MINUTE_US, NOW_US)
    assert json.loads(event["detail"]) == {"start_us": START_US, "trades": 5}
    assert symbol_key("binance", "BTCUSDT") == "binance:BTCUSDT"


def test_a_closed_interval_without_trades_has_no_ids():
    event = closed_minute(ids=None)
    assert (event["first_sequence"], event["last_sequence"]) == (None, None)
    assert json.loads(event["detail"]) == {"start_us": START_US, "trades": 0}


def test_all_legs_name_a_closed_interval_alike_and_no_other_so():
    name = closed_minute()["event_id"]
    assert closed_minute(now_us=NOW_US + 1)["event_id"] == name
    assert closed_minute("ETHUSDT")["event_id"] != name
    assert closed_minute(start_us=START_US + MINUTE_US)["event_id"] != name
    longest = closed_minute("S" * 64)["event_id"]
    assert len(longest) <= 256


def test_progress_names_offsets_by_topic_id_and_is_numbered():
    session = events()
    claim = Claim(NOW_US - 5, {("trades", 1): 9, ("quotes", 0): 4})
    first, second = session.progress(NOW_US, claim), session.progress(NOW_US, claim)
    assert first["event_id"] == "binance:spot:3:a-3-1:PROGRESS:1"
    assert second["event_id"] == "binance:spot:3:a-3-1:PROGRESS:2"
    assert first["venue_timestamp"] == NOW_US - 5
    assert first["acked"] == [
        {"topic_id": "Q" * 22, "partition": 0, "next_offset": 4},
        {"topic_id": "T" * 22, "partition": 1, "next_offset": 9},
    ]


def test_opened_says_which_symbols_and_closed_says_why():
    session = events()
    opened, closed = (
        session.opened(NOW_US, ["BTCUSDT"]),
        session.closed(NOW_US, "BACKPRESSURE", {"frames": 2}),
    )
    assert json.loads(opened["detail"]) == {"symbols": ["BTCUSDT"]}
    assert closed["cause"] == "BACKPRESSURE"
    assert json.loads(closed["detail"]) == {"frames": 2}
    assert session.key == "binance:spot:3"
    assert opened["event_id"] != closed["event_id"]


def test_every_event_keeps_the_contract():
    session, encoder = events(), Encoder(RecordKind.FEED_EVENTS, 5)
    for event in (
        session.opened(NOW_US, ["BTCUSDT"]),
        session.progress(NOW_US, Claim(NOW_US, {("trades", 0): 1})),
        session.closed(NOW_US, "STOPPED", {}),
        closed_minute(ids=(5, 9)),
        closed_minute(ids=None),
    ):
        encoder.encode(event)
