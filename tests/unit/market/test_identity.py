"""Names of records."""

import pytest

from seamark.market import identity

DAY_US = 86_400_000_000


def test_trades_and_quotes_are_named_by_venue_and_number():
    assert identity.trade_id("binance", 123, None) == "BINANCE-123"
    assert identity.quote_id("binance", 0, None) == "BINANCE-0"
    name = identity.message_id("binance", "spot", "trade", "BTCUSDT", 2, 123, None)
    assert name == "binance:spot:trade:BTCUSDT:2:123"


def test_the_venue_s_text_stands_in_where_it_gives_no_number():
    assert identity.trade_id("bybit", None, "20f43950-d8dd") == "BYBIT-20f43950-d8dd"
    assert identity.message_id("bybit", "spot", "trade", "X", 0, None, "a").endswith(":0:a")


def test_a_record_without_any_id_has_no_name():
    with pytest.raises(ValueError, match="source_sequence and native_id were both None"):
        identity.trade_id("binance", None, None)


def test_events_of_a_session_have_distinct_names_that_repeat():
    def names():
        return [
            identity.session_event_id("binance", "spot", 0, "a-1", "SESSION_OPENED"),
            identity.session_event_id("binance", "spot", 0, "a-1", "SESSION_CLOSED"),
            identity.session_event_id("binance", "spot", 0, "a-2", "SESSION_OPENED"),
            identity.progress_event_id("binance", "spot", 0, "a-1", 1),
            identity.progress_event_id("binance", "spot", 0, "a-1", 2),
        ]

    assert len(set(names())) == 5
    assert names() == names()


def test_an_instrument_stated_twice_on_a_day_is_one_event():
    content = {"status": "TRADING", "tick_size": "0.01"}
    reordered = dict(reversed(content.items()))
    first = identity.instrument_event_id("binance", "spot", "BTCUSDT", DAY_US, content)
    assert first.startswith("binance:spot:BTCUSDT:1970-01-02:")
    assert identity.instrument_event_id("binance", "spot", "BTCUSDT", 2 * DAY_US - 1, reordered) == first
    others = [
        identity.instrument_event_id("binance", "spot", "BTCUSDT", 2 * DAY_US, content),
        identity.instrument_event_id("binance", "spot", "BTCUSDT", DAY_US, content | {"status": "HALT"}),
        identity.instrument_event_id("binance", "spot", "ETHUSDT", DAY_US, content),
    ]
    assert len({first, *others}) == 4
