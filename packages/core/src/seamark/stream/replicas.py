"""Which tail-cache replica holds which partition: fixed by ordinals, so that holder and asker agree unasked."""

from __future__ import annotations

from seamark.market.murmur2 import murmur2


def replicas_of(topic: str, partition: int, replicas: int, replication: int) -> tuple[int, ...]:
    """Ordinals of the replicas that hold a partition, the one to ask first in front.

    Each topic begins at an ordinal of its own, and each round of partitions one further: a
    replica gets its share of every tier although the tiers' pattern may be as long as a round.

    Raises:
        ValueError: replicas or replication is below 1, or replication above replicas.
    """
    if not 1 <= replication <= replicas:
        raise ValueError(f"replication was {replication}, must be 1 to the replicas, which were {replicas}")
    first = murmur2(topic.encode()) + partition + partition // replicas
    return tuple((first + copy) % replicas for copy in range(replication))
