"""Which replica holds what: the same for all who ask, spread evenly."""

from collections import Counter

import pytest

from seamark.market.routing import TIER_PATTERN
from seamark.stream.replicas import replicas_of

TOPIC = "market.crypto.trades.binance"


@pytest.mark.parametrize(("replicas", "replication"), [(1, 1), (2, 1), (3, 2), (4, 1), (5, 3), (7, 7)])
def test_each_partition_has_as_many_different_replicas_as_asked_for(replicas, replication):
    for partition in range(100):
        held = replicas_of(TOPIC, partition, replicas, replication)
        assert len(set(held)) == replication
        assert set(held) <= set(range(replicas))


@pytest.mark.parametrize("replicas", [2, 3, 4, 8])
def test_partitions_and_those_of_each_tier_are_spread_evenly(replicas):
    partitions = replicas * replicas * len(TIER_PATTERN)
    first = [replicas_of(TOPIC, partition, replicas, 1)[0] for partition in range(partitions)]
    assert set(Counter(first).values()) == {partitions // replicas}
    for position in range(len(TIER_PATTERN)):
        of_tier = Counter(first[position :: len(TIER_PATTERN)])
        assert max(of_tier.values()) - min(of_tier[ordinal] for ordinal in range(replicas)) <= len(
            TIER_PATTERN
        )


def test_topics_of_one_partition_are_not_all_held_by_one_replica():
    topics = [f"market.crypto.trades.venue{number}" for number in range(50)]
    assert len({replicas_of(topic, 0, 5, 1) for topic in topics}) == 5


def test_where_a_partition_is_does_not_change_from_release_to_release():
    assert [replicas_of(TOPIC, partition, 3, 2) for partition in range(4)] == [
        (1, 2),
        (2, 0),
        (0, 1),
        (2, 0),
    ]


@pytest.mark.parametrize(("replicas", "replication"), [(0, 1), (2, 3), (2, 0)])
def test_more_copies_than_replicas_or_none_are_refused(replicas, replication):
    with pytest.raises(ValueError, match=f"replication was {replication}, must be 1 to the replicas"):
        replicas_of(TOPIC, 0, replicas, replication)
