"""Offsets are the same after they went over a connection, and nonsense does not get in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import StreamPartition
from seamark.rpc.v1 import offsets_pb2
from seamark.rpc.vectors import (
    OffsetRange,
    VectorInvalid,
    from_proto,
    range_from_proto,
    range_to_proto,
    to_proto,
)

OFFSETS = st.integers(0, 2**63 - 1)
PARTITIONS = st.builds(StreamPartition, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
VECTORS = st.dictionaries(PARTITIONS, OFFSETS, max_size=5)


@settings(deadline=None)
@given(VECTORS)
def test_a_vector_comes_back_as_it_was(vector):
    wire = to_proto(vector).SerializeToString()
    assert from_proto(offsets_pb2.OffsetVector.FromString(wire)) == vector


@settings(deadline=None)
@given(VECTORS)
def test_equal_vectors_are_equal_bytes(vector):
    turned = dict(reversed(vector.items()))
    assert to_proto(turned).SerializeToString() == to_proto(vector).SerializeToString()


@settings(deadline=None)
@given(
    PARTITIONS,
    st.lists(OFFSETS, min_size=2, max_size=2).map(sorted),
    st.booleans(),
    st.text("A_", max_size=3),
)
def test_a_range_comes_back_as_it_was(where, bounds, open_, reason):
    one = OffsetRange(where, bounds[0], None if open_ else bounds[1], reason)
    wire = range_to_proto(one).SerializeToString()
    assert range_from_proto(offsets_pb2.OffsetRange.FromString(wire)) == one


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([(1, 2, 3), (1, 2, 3)], "partition 1.2 was named twice"),
        ([(1, 2, -1)], "offset of partition 1.2 was -1, must be 0 or more"),
        ([(-1, 2, 3)], "partition was -1.2, must be two numbers from 0"),
        ([(1, -2, 3)], "partition was 1.-2, must be two numbers from 0"),
    ],
)
def test_offsets_that_no_log_has_are_refused(offsets, says):
    named = [
        offsets_pb2.PartitionOffset(stream_id=one, partition=two, offset=three) for one, two, three in offsets
    ]
    with pytest.raises(VectorInvalid, match=says):
        from_proto(offsets_pb2.OffsetVector(offsets=named))


@pytest.mark.parametrize(
    "wrong",
    [
        {"from_offset": 5, "to_offset": 4},
        {"from_offset": -1, "to_offset": 4},
        {"from_offset": -1, "end_unknown": True},
        {"partition": -1},
    ],
)
def test_ranges_that_no_log_has_are_refused(wrong):
    with pytest.raises(VectorInvalid, match="was"):
        range_from_proto(offsets_pb2.OffsetRange(**wrong))
