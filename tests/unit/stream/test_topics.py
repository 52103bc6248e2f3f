"""Names of topics and what they say."""

import pytest

from seamark.market.schema import RecordKind
from seamark.stream.errors import TopicNameInvalid
from seamark.stream.topics import FEED_EVENTS, TopicName, market_topic, parse_market_topic


@pytest.mark.parametrize("kind", [RecordKind.TRADES, RecordKind.QUOTES, RecordKind.REFERENCE_DATA])
def test_a_topic_name_says_what_it_was_made_of(kind):
    topic = market_topic("crypto", kind, "binance")
    assert topic == f"market.crypto.{kind.value}.binance"
    assert parse_market_topic(topic) == TopicName("crypto", kind, "binance")


def test_feed_events_of_all_venues_share_one_topic():
    assert market_topic("crypto", RecordKind.FEED_EVENTS, "binance") == FEED_EVENTS
    assert market_topic("equity", RecordKind.FEED_EVENTS, "xetra") == FEED_EVENTS
    assert parse_market_topic(FEED_EVENTS) == TopicName("all", RecordKind.FEED_EVENTS, None)


@pytest.mark.parametrize(
    "topic",
    [
        "market.dlq",
        "market.crypto.trades",
        "market.crypto.feed_events.binance",
        "market.Crypto.trades.binance",
    ]
    + ["market.crypto.trades.binance.x", "market..trades.binance", "other.crypto.trades.binance", ""],
)
def test_other_names_are_refused_by_name(topic):
    with pytest.raises(TopicNameInvalid, match="must be market.feed_events or market"):
        parse_market_topic(topic)


@pytest.mark.parametrize("bad", ["", "a.b", "Crypto", "1x", "crypto\n"])
def test_a_part_that_would_break_the_name_is_refused(bad):
    with pytest.raises(TopicNameInvalid):
        market_topic(bad, RecordKind.TRADES, "binance")
    with pytest.raises(TopicNameInvalid):
        market_topic("crypto", RecordKind.TRADES, bad)
