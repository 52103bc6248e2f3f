"""A batch accounts for every offset, and its id is its own."""

import pytest

from seamark.consumer_writer.batch import Range, batch_id
from seamark.lake.checkpoint import Counters, ExcludedRange, StreamPartition
from seamark.sequencing.state import PartitionState
from unit.consumer_writer.tables import P0, P1, batch, range_of


@pytest.mark.parametrize("counters", [Counters(), Counters(written=4), Counters(written=6), Counters(5, 1)])
def test_a_range_that_does_not_account_for_its_offsets_is_refused(counters):
    with pytest.raises(ValueError, match=r"range \[10, 15\) has 5 offsets, Counters\(.*accounts for"):
        Range(10, 15, 0, 0, counters, PartitionState())


@pytest.mark.parametrize("field", ["written", "duplicate", "dlq", "shed", "lost"])
def test_any_counter_accounts_for_an_offset(field):
    Range(10, 11, 0, 0, Counters(**{field: 1}), PartitionState())


RANGES = {P0: range_of(10, 15), P1: range_of(10, 12)}


def test_the_same_vector_of_the_same_writer_has_one_id():
    assert batch_id(RANGES, "w") == batch_id(dict(reversed(RANGES.items())), "w")
    assert len(bytes.fromhex(batch_id(RANGES, "w"))) == 10


@pytest.mark.parametrize(
    "other",
    [
        {P0: range_of(10, 15)},
        {P0: range_of(10, 16), P1: range_of(10, 12)},
        {P0: range_of(9, 15), P1: range_of(10, 12)},
        {P0: range_of(10, 12), P1: range_of(10, 15)},
        {StreamPartition(2, 0): range_of(10, 15), P1: range_of(10, 12)},
        {StreamPartition(11, 0): range_of(10, 15), StreamPartition(1, 10): range_of(10, 12)},
    ],
)
def test_another_vector_has_another_id(other):
    assert batch_id(other, "w") != batch_id(RANGES, "w")


def test_another_writer_has_another_id_for_the_same_vector():
    assert batch_id(RANGES, "w") != batch_id(RANGES, "zombie")


def test_what_is_lost_of_a_vector_makes_its_id_another():
    def lost(end):
        return [ExcludedRange(P0, 10, end, "LOST", 1)]

    ids = {batch_id(RANGES, "w"), batch_id(RANGES, "w", lost(12)), batch_id(RANGES, "w", lost(13))}
    assert len(ids) == 3
    assert batch_id(RANGES, "w", lost(12)) == batch_id(RANGES, "w", lost(12))


def test_written_is_the_sum_over_partitions():
    assert batch({P0: range_of(10, 15, dlq=2), P1: range_of(10, 12)}).written == 5


def test_a_batch_without_rows_is_an_empty_table():
    empty = batch({P0: range_of(10, 15, dlq=5)})
    assert (empty.rows.num_rows, empty.size_bytes) == (0, 0)
    assert "kafka_offset" in empty.rows.column_names
