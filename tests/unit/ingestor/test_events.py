"""Feed events of a session: what they hold can be encoded, and their names repeat."""

import json

from seamark.ingestor.events import SessionEvents
from seamark.ingestor.progress import Claim
from seamark.market.schema import RecordKind
from seamark.stream.encode import Encoder

NOW_US = 1_723_161_255_400_123


def events():
    return SessionEvents("binance", "spot", 3, "a", "a-3-1", {"trades": "T" * 22, "quotes": "Q" * 22})


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
    session, encoder = events(), Encoder(RecordKind.FEED_EVENTS, 4)
    for event in (
        session.opened(NOW_US, ["BTCUSDT"]),
        session.progress(NOW_US, Claim(NOW_US, {("trades", 0): 1})),
        session.closed(NOW_US, "STOPPED", {}),
    ):
        encoder.encode(event)
