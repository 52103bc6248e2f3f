"""What a batch may do to the table as it stands: the whole of the range-CAS."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.consumer_writer.decide import Fenced, Halt, Landed, Stage, decide, summary_of
from seamark.lake.checkpoint import (
    EXCLUDED,
    SUMMARY,
    Checkpoint,
    Counters,
    StreamPartition,
    from_summary,
    property_name,
)
from seamark.lake.errors import CheckpointInvalid
from seamark.lake.foreign import FOREIGN
from seamark.lake.streams import Stream
from unit.consumer_writer.tables import P0, P1, STREAM, UUID, H, batch, range_of, table

BOTH = batch({P0: range_of(10, 15), P1: range_of(10, 12, duplicate=1, dlq=1)})
ONE = batch({P0: range_of(10, 15)})
SUCCESSOR = Stream(2, "cluster", "id-2", STREAM.topic, 1, (0,), "{}", "hash", succeeds=1)


def moved(where, **change):
    """H with one partition somewhere else."""
    return H | {where: replace(H[where], **change)}


def test_a_batch_that_begins_where_the_table_ends_is_staged():
    decision = decide(table(), BOTH, 7, UUID)
    assert decision == Stage(decision.moved, decision.moved)
    assert decision.moved == {
        P0: Checkpoint(15, 3, BOTH.batch_id, 7, 9, Counters(written=13, duplicate=2)),
        P1: Checkpoint(12, 3, BOTH.batch_id, 7, 9, Counters(written=8, duplicate=3, dlq=1)),
    }


def test_partitions_that_a_batch_does_not_touch_stay_as_they_are():
    decision = decide(table(), ONE, 1, UUID)
    assert set(decision.moved) == {P0}
    assert decision.checkpoints == {**decision.moved, P1: H[P1]}


@pytest.mark.parametrize("where", [P0, P1])
def test_a_batch_id_on_any_of_its_partitions_means_it_has_landed(where):
    points = moved(where, batch_id=BOTH.batch_id, next=15, counters=Counters(written=15))
    assert decide(table(points), BOTH, 2, UUID) == Landed()


def test_a_batch_that_landed_before_its_stream_was_closed_has_landed():
    points = moved(P0, batch_id=ONE.batch_id, next=15)
    points[StreamPartition(2, 0)] = H[P0]
    assert decide(table(points, SUCCESSOR), ONE, 2, UUID) == Landed()


def test_the_same_offsets_by_another_writer_have_not_landed():
    zombie = batch(BOTH.ranges, writer_id="zombie")
    points = moved(P0, batch_id=zombie.batch_id, next=15)
    assert isinstance(decide(table(points), BOTH, 2, UUID), Fenced)


@pytest.mark.parametrize("where", [P0, P1])
@pytest.mark.parametrize("next_offset", [0, 9, 11, 15, 100])
def test_one_partition_elsewhere_fences_the_whole_batch(where, next_offset):
    decision = decide(table(moved(where, next=next_offset)), BOTH, 1, UUID)
    assert decision == Fenced(f"{where}: table is at {next_offset}, batch begins at 10")


def test_a_partition_outside_the_batch_fences_nothing():
    assert isinstance(decide(table(moved(P1, next=99)), ONE, 1, UUID), Stage)


def test_a_closed_stream_takes_no_rows():
    points = {**H, StreamPartition(2, 0): H[P0]}
    assert decide(table(points, SUCCESSOR), ONE, 1, UUID) == Fenced("stream 1 was closed")


def test_another_table_under_the_name_halts():
    decision = decide(table(uuid="other"), ONE, 1, UUID)
    assert isinstance(decision, Halt)
    assert (
        decision.reason == f"table uuid was other, must be {UUID}: the table was replaced; restart the writer"
    )


def test_a_table_that_was_rolled_back_halts_and_names_the_way_on():
    older = {where: replace(point, next=5, counters=Counters(written=5)) for where, point in H.items()}
    decision = decide(table(at_head=older), ONE, 1, UUID)
    assert isinstance(decision, Halt)
    assert decision.reason.startswith("rolled_back: snapshot 1 behind head 1 differs from the properties")
    assert decision.reason.endswith("Way on: adopt --at-snapshot 1")


def test_a_rolled_back_table_halts_even_if_the_batch_seems_to_have_landed():
    points = moved(P0, batch_id=ONE.batch_id, next=15)
    assert isinstance(decide(table(points, at_head=H), ONE, 2, UUID), Halt)


@pytest.mark.parametrize("missing", [P0, P1])
def test_a_missing_property_halts_and_is_never_zero(missing):
    points = {where: point for where, point in H.items() if where != missing}
    decision = decide(table(points), batch({P0: range_of(0, 5), P1: range_of(0, 5)}), 1, UUID)
    assert decision == Halt(f"table has no checkpoint for {missing}. Way on: adopt the topic")


def test_offsets_not_accounted_for_are_never_staged():
    wrong = moved(P0, counters=Counters(written=7, duplicate=2))
    with pytest.raises(CheckpointInvalid, match=r"checkpoint 1\.0"):
        decide(table(wrong), ONE, 1, UUID)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_batches_sent_again_after_any_answer_advance_the_table_once_each(lengths, data):
    """Each batch is decided again before and after it lands; H is their sum and never goes back."""
    points = H
    for length in lengths:
        first = points[P0].next
        one = batch({P0: range_of(first, first + length)})
        for attempt in range(1, data.draw(st.integers(1, 3)) + 1):
            decision = decide(table(points), one, attempt, UUID)
            assert isinstance(decision, Stage if attempt == 1 else Landed)
            if isinstance(decision, Stage):
                points = decision.checkpoints
        assert points[P0].next == first + length
        stale = batch({P0: range_of(first, first + length)}, writer_id="zombie")
        assert isinstance(decide(table(points), stale, 1, UUID), Fenced)
    assert points[P0].next == 10 + sum(lengths)
    assert points[P0].counters.total == points[P0].next
    assert points[P1] == H[P1]


def test_a_summary_carries_all_partitions_what_is_excluded_and_what_others_changed():
    summary = summary_of(H, 4, '[[1,0,5,9,"LOST",4]]', "1:7")
    assert from_summary(summary[SUMMARY]) == (H, 4)
    assert summary[EXCLUDED] == '[[1,0,5,9,"LOST",4]]'
    assert summary[FOREIGN] == "1:7"
    assert set(summary_of(H, 4, "", "")) == {SUMMARY}
    assert property_name(P0) != SUMMARY
