"""All cases by what the topic carries."""

from __future__ import annotations

from types import MappingProxyType

from corpus import feed_events, quotes, reference_data, trades

CORPORA = MappingProxyType(
    {
        "trades": trades.CASES,
        "quotes": quotes.CASES,
        "reference_data": reference_data.CASES,
        "feed_events": feed_events.CASES,
    }
)


def good_record(kind: str) -> bytes:
    """A record of the kind that is accepted."""
    value = CORPORA[kind][0].value
    assert value is not None
    return value
