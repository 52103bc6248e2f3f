"""What a cluster says of many partitions at once."""

import pytest

from seamark.stream.cluster import KafkaCluster
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import TopicPartition
from twins.broker import MockBroker

TOPIC = "market.crypto.trades.binance"


def test_the_ends_of_partitions_without_those_that_are_not_there():
    broker = MockBroker()
    broker.append(TOPIC, 0, [b"x"] * 7)
    broker.append(TOPIC, 1, [b"x"] * 3)
    cluster = KafkaCluster(broker.bootstrap)
    assert cluster.ends(TOPIC, [0, 1, 2]) == {0: 7, 1: 3, 2: 0}
    assert cluster.ends(TOPIC, [1, 99]) == {1: 3}
    cluster.close()


def test_a_cluster_that_does_not_answer_has_no_ends(monkeypatch):
    monkeypatch.setattr("seamark.stream.cluster._ENDS_TIMEOUT_SECONDS", 0.1)
    cluster = KafkaCluster("127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=f"asking for the ends of topic {TOPIC}"):
        cluster.ends(TOPIC, [0])
    cluster.close()


def test_the_leader_epochs_of_records_without_those_that_are_not_there():
    broker = MockBroker()
    for partition in range(3):
        broker.append(TOPIC, partition, [b"x"] * 7)
    cluster = KafkaCluster(broker.bootstrap)
    first, second, third = (TopicPartition(TOPIC, partition) for partition in range(3))
    assert cluster.epochs_at({first: 0, second: 6, third: 99}) == {first: 0, second: 0}
    assert cluster.epochs_at({third: 3}) == {third: 0}
    cluster.close()


def test_a_cluster_that_does_not_answer_has_no_leader_epochs(monkeypatch):
    monkeypatch.setattr("seamark.stream.cluster._TIMEOUT_SECONDS", 0.3)
    cluster = KafkaCluster("127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=f"reading the records at .*{TOPIC}.*89.*within 0.3 s"):
        cluster.epochs_at({TopicPartition(TOPIC, 0): 89})
    cluster.close()
