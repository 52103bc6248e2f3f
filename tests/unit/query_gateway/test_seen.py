"""What waits behind H is counted by partition, and only where the symbols asked for can be."""

from __future__ import annotations

from seamark.lake.checkpoint import StreamPartition
from seamark.market.routing import routing_for
from seamark.query_gateway.pin import pin_head
from seamark.query_gateway.seen import SeenEnds
from unit.query_gateway.lake import KIND, TOPIC, Lake


def test_records_behind_h_as_far_as_they_were_seen():
    lake = Lake(partitions=4)
    lake.commit(10, 20, 30, 40)
    seen = SeenEnds()
    pin = pin_head(KIND.value, lake.view)
    assert seen.records_behind(pin, ()) == 0
    seen.note(KIND, {StreamPartition(1, 0): 15, StreamPartition(1, 1): 5})
    assert seen.records_behind(pin, ()) == 5
    seen.note(KIND, {StreamPartition(1, 0): 12, StreamPartition(1, 3): 140})
    assert seen.records_behind(pin, ()) == 105
    routing = routing_for(TOPIC, KIND, 4, {})
    waiting = {0: 5, 3: 100}
    for symbols in (("AAA",), ("BBB",), ("AAA", "BBB", "CCC")):
        partitions = {routing.partition_of(symbol) for symbol in symbols}
        assert seen.records_behind(pin, symbols) == sum(waiting.get(one, 0) for one in partitions)
