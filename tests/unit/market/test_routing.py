"""Routing: the partitions of Kafka's own partitioner, by tier, with one canonical form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.market.errors import RoutingError
from seamark.market.murmur2 import murmur2, partition_for
from seamark.market.routing import (
    LAST_TIER,
    Routing,
    RoutingMode,
    bundled_tiers,
    parse_tiers,
    routing_for,
)
from seamark.market.schema import RecordKind

SYMBOLS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=12)
TIERS = st.dictionaries(SYMBOLS, st.sampled_from([1, 2]), max_size=20)
TIERED = st.builds(Routing, st.just("t"), st.just(RoutingMode.TIERED), st.integers(1, 40), TIERS)
KEYED = st.builds(Routing, st.just("t"), st.just(RoutingMode.KEYED), st.integers(1, 40))

# From UtilsTest of Apache Kafka.
KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), KAFKA_VECTORS.items())
def test_the_hash_is_kafka_s(data, signed):
    assert murmur2(data) == signed % 2**32
    assert partition_for(data, 7) == (signed & 0x7FFFFFFF) % 7


@given(TIERED, SYMBOLS)
def test_a_symbol_goes_to_a_partition_of_its_tier_or_of_the_next_more_important_one(routing, symbol):
    tier = routing.tiers.get(symbol, LAST_TIER)
    there = {routing.tier_of(partition) for partition in range(routing.partitions)}
    expected = max(each for each in there if each <= tier)
    assert routing.tier_of(routing.partition_of(symbol)) == expected


@given(KEYED, SYMBOLS)
def test_a_keyed_topic_is_routed_as_kafka_would(routing, key):
    assert routing.partition_of(key) == partition_for(key.encode(), routing.partitions)
    assert routing.tier_of(routing.partition_of(key)) == 1


@given(TIERED | KEYED)
def test_the_canonical_text_carries_the_whole_routing(routing):
    read = Routing.from_json(routing.to_json())
    assert read == routing
    assert read.to_json() == routing.to_json()
    assert read.hash == routing.hash


@given(TIERED, TIERED)
def test_hashes_are_equal_exactly_where_routings_are(one, other):
    assert (one.hash == other.hash) == (one == other)


def test_the_order_in_which_symbols_were_listed_does_not_matter():
    tiers = {"BTCUSDT": 1, "ETHUSDT": 1, "SHIBUSDT": 2}
    one = Routing("t", RoutingMode.TIERED, 4, tiers)
    other = Routing("t", RoutingMode.TIERED, 4, dict(reversed(tiers.items())))
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize(
    ("partitions", "of_tier"),
    [
        (1, {1: {0}, 2: {0}, 3: {0}}),
        (2, {1: {0, 1}, 2: {0, 1}, 3: {0, 1}}),
        (3, {1: {0, 1}, 2: {2}, 3: {2}}),
        (4, {1: {0, 1}, 2: {2}, 3: {3}}),
    ],
)
def test_a_tier_without_partitions_is_taken_in_by_the_next_more_important_one(partitions, of_tier):
    tiers = {f"S{tier}{n}": tier for tier in (1, 2) for n in range(50)}
    routing = Routing("t", RoutingMode.TIERED, partitions, tiers)
    for tier, expected in of_tier.items():
        assert {routing.partition_of(f"S{tier}{n}") for n in range(50)} == expected


def test_every_partition_of_a_tier_is_used():
    routing = Routing("t", RoutingMode.TIERED, 8, {f"S{n}": 1 for n in range(200)})
    assert {routing.partition_of(f"S{n}") for n in range(200)} == {0, 1, 4, 5}
    assert {routing.partition_of(f"U{n}") for n in range(200)} == {3, 7}


def test_a_stream_s_routing_is_tiered_for_market_data_only():
    tiers = {"BTCUSDT": 1}
    assert routing_for("t", RecordKind.TRADES, 4, tiers).mode is RoutingMode.TIERED
    assert routing_for("t", RecordKind.QUOTES, 4, tiers).tiers == tiers
    assert routing_for("t", RecordKind.FEED_EVENTS, 4, tiers) == Routing("t", RoutingMode.KEYED, 4)
    assert routing_for("t", RecordKind.REFERENCE_DATA, 4, tiers).mode is RoutingMode.KEYED


def test_the_bundled_tiers_are_the_top_20_and_the_next_80():
    tiers = bundled_tiers("crypto")
    assert list(tiers.values()).count(1) == 20
    assert list(tiers.values()).count(2) == 80
    assert all(symbol.endswith("USDT") for symbol in tiers)
    assert tiers["BTCUSDT"] == 1


def test_an_asset_class_without_tiers_is_refused_by_name():
    with pytest.raises(RoutingError, match="asset class was 'equity', must be one of crypto"):
        bundled_tiers("equity")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"3": []}', "lists under 1 and 2"),
        ('{"1": "BTCUSDT"}', "must be a list of symbols"),
        ('{"1": ["A"], "2": ["A"]}', "'A' stands in the tiers twice"),
        ('{"1": [1]}', "must be a list of symbols"),
    ],
)
def test_a_tiers_file_that_does_not_hold_together_is_refused(text, complaint):
    with pytest.raises(RoutingError, match=complaint):
        parse_tiers(text)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"mode": "RANDOM"}, "mode was 'RANDOM', must be TIERED or KEYED"),
        ({"mode": "KEYED"}, "must be empty where mode is KEYED"),
        ({"partitions": 0}, "partitions was 0, must be 1 or more"),
        ({"partitions": True}, "text and a number"),
        ({"partitions": "4"}, "text and a number"),
        ({"topic": ""}, "topic was empty"),
        ({"pattern": [1, 2, 3]}, "pattern was"),
        ({"tiers": {"4": ["X"]}}, "under 1 and 2"),
        ({"more": 1}, r"lacks or has \['more'\]"),
    ],
)
def test_a_routing_that_this_build_cannot_follow_is_refused(change, complaint):
    document = json.loads(Routing("t", RoutingMode.TIERED, 4, {"BTCUSDT": 1}).to_json())
    with pytest.raises(RoutingError, match=complaint):
        Routing.from_json(json.dumps(document | change))


def test_a_partition_that_is_not_there_has_no_tier():
    with pytest.raises(RoutingError, match="partition was 4, must be 0 to 3"):
        Routing("t", RoutingMode.TIERED, 4).tier_of(4)
