"""A snapshot that expires while it is read costs one more reading, whoever asks; never the answer."""

from __future__ import annotations

import pytest

from seamark.lake import excluded
from seamark.lake.checkpoint import EXCLUDED, EXCLUDED_FILE, ExcludedRange, StreamPartition
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Invalid, Unavailable
from seamark.query_gateway.gaps import GapLedger
from seamark.query_gateway.gateway import Gateway
from seamark.query_gateway.question import AsOfQuestion, AtSnapshot, BarsQuestion, Latest, Question
from seamark.query_gateway.sources import SnapshotGone
from unit.query_gateway.tables import NOW_US, Tables

TRADES, EVENTS, QUOTES = RecordKind.TRADES, RecordKind.FEED_EVENTS, RecordKind.QUOTES
SECOND = 1_000_000
MARKET = {"exchange": "binance", "market": "spot", "symbol": "AAA"}
TIMES = {"timestamp": NOW_US, "ingestion_timestamp": NOW_US}
ASKING = {
    "rows": lambda gateway, call: gateway.query(Question(TRADES, Predicate(("AAA",))), call),
    "bars": lambda gateway, call: gateway.bars(
        BarsQuestion("binance", "spot", "AAA", NOW_US, NOW_US + SECOND, "1s"), call
    ),
    "as of": lambda gateway, call: gateway.as_of(AsOfQuestion(("AAA",), NOW_US, NOW_US + SECOND), call),
    "instruments": lambda gateway, call: gateway.instruments((), Latest(), call),
}


@pytest.fixture
def tables():
    """Each table with a snapshot that is pinned."""
    made = Tables()
    made.gateway = Gateway(made.opening, made.opener, GapLedger(made.opening))
    made.append(TRADES, "AAA", source_sequence=1, price=1, quantity=1, feed="trade", **MARKET, **TIMES)
    made.append(QUOTES, "AAA", source_sequence=1, bid_price=1, **MARKET, **TIMES)
    gap = {"gap_id": "g1", "first_sequence": 1, "last_sequence": 2}
    made.append(EVENTS, "binance", event_id="1", kind="GAP_OPEN", timestamp=NOW_US, **gap, **MARKET)
    made.append(RecordKind.REFERENCE_DATA, "AAA", event_id="2", timestamp=NOW_US, **MARKET)
    for kind in RecordKind:
        made.commit(kind)
    made.pin()
    yield made
    made.runner.close()


def expire(tables, head=False):
    """All snapshots but the head, which another commit has made; `head`: that one, too."""
    for kind in RecordKind:
        lake = tables.lakes[kind]
        tables.commit(kind)
        lake.expire(*[number for number in lake.table.snapshots if head or number != lake.head])


@pytest.mark.parametrize("asking", ASKING)
def test_an_expired_snapshot_is_read_from_the_next_one(tables, asking):
    expire(tables)
    header, rows = tables.ask(lambda call: ASKING[asking](tables.gateway, call))
    assert (header.exact, rows.num_rows) == (True, 1)
    for table in header.tables:
        assert table.snapshot_id == tables.lakes[RecordKind(table.table)].head
    gaps = [] if asking == "instruments" else ["g1"]
    assert [gap.gap_id for gap in header.gaps] == gaps


@pytest.mark.parametrize("asking", ASKING)
def test_one_that_expires_again_and_again_is_unavailable(tables, asking):
    for lake in tables.lakes.values():
        lake.table.snapshots = Forgotten(lake.table.snapshots)
    with pytest.raises(SnapshotGone) as caught:
        tables.ask(lambda call: ASKING[asking](tables.gateway, call))
    assert isinstance(caught.value, Unavailable)


class Forgotten(dict):
    """Snapshots in the metadata, without files."""

    def __contains__(self, key):
        return False


def test_snapshots_whose_ranges_are_in_a_file_can_be_asked_for(tables):
    """The file is in the store that the pins read with."""
    lake, where = tables.lakes[TRADES], StreamPartition(1, 0)
    states = tables.lakes[RecordKind.TRADES].states
    lost = tuple(ExcludedRange(where, 2 * at, 2 * at + 1, "LOST", 1) for at in range(1_000))
    text = excluded.with_more("", lost, 1, lake.view.uuid, states)
    assert text.startswith(EXCLUDED_FILE)
    lake.table.properties[EXCLUDED] = text
    tables.commit(TRADES)
    tables.pin()
    newest = tables.run(tables.gateway.snapshots(TRADES))[0]
    assert (newest.snapshot_id, newest.pinnable, newest.reason) == (lake.head, True, "")


def test_a_join_of_one_tables_snapshot_is_refused(tables):
    with pytest.raises(Invalid, match="snapshot was 5, must not be given here") as caught:
        AsOfQuestion(("AAA",), NOW_US, NOW_US + SECOND, consistency=AtSnapshot(5))
    assert caught.value.field == "snapshot"
