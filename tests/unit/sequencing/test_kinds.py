"""Feeds are folded only by the numbers that the fold understands."""

import pytest

from seamark.market.schema import RecordKind
from seamark.sequencing.kinds import FEEDS, FOLDED, SequenceKind, refusal

TRADES, QUOTES = RecordKind.TRADES, RecordKind.QUOTES


@pytest.mark.parametrize("kind", FOLDED)
@pytest.mark.parametrize("feed", FEEDS)
def test_a_feed_is_a_row_only_where_its_numbers_are_those_of_the_fold(kind, feed):
    assert (refusal(kind, *feed) is None) == (FEEDS[feed] is FOLDED[kind])


@pytest.mark.parametrize(
    ("kind", "feed", "told"),
    [
        (
            TRADES,
            ("binance", "spot", "aggTrade"),
            "feed was binance:spot:aggTrade (sequence range), must be one of",
        ),
        (
            TRADES,
            ("binance", "usdm", "aggTrade"),
            "feed was binance:usdm:aggTrade (sequence range), must be one of",
        ),
        (
            TRADES,
            ("binance", "spot", "blockTrade"),
            "feed was binance:spot:blockTrade (sequence none), must be",
        ),
        (
            TRADES,
            ("kraken", "spot", "trade"),
            "feed was kraken:spot:trade (sequence unknown), must be one of",
        ),
        (TRADES, ("binance", "spot", "bookTicker"), "must be one of binance:spot:trade for trades"),
        (QUOTES, ("binance", "spot", "trade"), "must be one of binance:spot:bookTicker for quotes"),
    ],
)
def test_a_refusal_names_the_feed_and_those_allowed(kind, feed, told):
    assert told in str(refusal(kind, *feed))


@pytest.mark.parametrize("kind", SequenceKind)
def test_every_kind_but_two_is_refused(kind):
    folded = kind in FOLDED.values()
    assert folded == (kind in (SequenceKind.CONTIGUOUS, SequenceKind.MONOTONE))
