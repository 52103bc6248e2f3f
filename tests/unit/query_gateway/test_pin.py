"""A pin's vector is what its snapshot holds, or the pin says that nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.lake.errors import CheckpointInvalid
from seamark.query_gateway.errors import Gone
from seamark.query_gateway.pin import Known, pin_head, pin_snapshot
from seamark.query_gateway.seam import start_of
from unit.query_gateway.lake import TOPIC, Lake

P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)


def head_of(lake):
    return pin_head("trades", lake.view)


def snapshot_of(lake, snapshot_id):
    return pin_snapshot("trades", lake.view, snapshot_id)


def test_the_head_is_pinned_with_its_own_vector():
    lake = Lake()
    committed = lake.commit(5, 7, append_us=99)
    pin = head_of(lake)
    assert (pin.snapshot_id, pin.watermark, pin.doubt) == (committed, {P0: 5, P1: 7}, "")
    assert pin.append_us == {P0: 99, P1: 99}
    assert pin.revision == lake.view.revision
    assert pin == snapshot_of(lake, committed)


def test_a_table_without_a_snapshot_holds_nothing():
    lake = Lake()
    lake.table.head = None
    lake.table.snapshots.clear()
    lake.table.properties.clear()
    pin = head_of(lake)
    assert (pin.snapshot_id, pin.watermark, pin.open_partitions, pin.doubt) == (None, {}, (), "")


def test_replacing_files_moves_nothing():
    lake = Lake()
    lake.commit(5, 7)
    lake.table.compact()
    lake.table.compact()
    pin = head_of(lake)
    assert (pin.snapshot_id, pin.watermark, pin.doubt) == (lake.head, {P0: 5, P1: 7}, "")
    assert snapshot_of(lake, lake.head).watermark == pin.watermark


def test_each_snapshot_keeps_its_own_vector():
    lake = Lake()
    vectors = {lake.commit(at, 2 * at): {P0: at, P1: 2 * at} for at in range(1, 5)}
    lake.table.compact()
    for snapshot_id, vector in vectors.items():
        assert snapshot_of(lake, snapshot_id).watermark == vector


def test_a_foreign_change_leaves_doubt_at_the_head_and_no_pin_by_its_id():
    lake = Lake()
    own = lake.commit(5, 7)
    lake.table.foreign_append()
    foreign = lake.head
    lake.table.compact()
    pin = head_of(lake)
    assert (pin.snapshot_id, pin.watermark) == (lake.head, {P0: 5, P1: 7})
    assert f"table trades holds changes by snapshot {foreign}, which the writer did not make" in pin.doubt
    for snapshot_id in (foreign, lake.head):
        with pytest.raises(Gone, match=rf"holds changes by snapshot {foreign} \(append\)") as caught:
            snapshot_of(lake, snapshot_id)
        assert caught.value.field == "snapshot"
    assert snapshot_of(lake, own).watermark == {P0: 5, P1: 7}


def test_a_foreign_change_leaves_doubt_behind_every_later_commit_until_it_is_adopted():
    lake = Lake()
    before = lake.commit(5, 7)
    changes = []
    for at in range(8, 10):
        lake.table.foreign_append()
        changes.append(lake.head)
        lake.commit(at, at)
    lake.table.compact()
    behind = lake.head
    newest = lake.commit(12, 12)
    lake.expire(*changes)
    doubt = f"holds changes by snapshots {changes[0]}, {changes[1]}, which the writer did not make"
    for snapshot_id in (behind, newest):
        assert doubt in snapshot_of(lake, snapshot_id).doubt
    assert doubt in head_of(lake).doubt
    assert snapshot_of(lake, before).doubt == ""

    lake.adopt_head()
    assert (head_of(lake).doubt, head_of(lake).watermark) == ("", {P0: 12, P1: 12})
    assert snapshot_of(lake, lake.commit(13, 13)).doubt == head_of(lake).doubt == ""
    assert doubt in snapshot_of(lake, behind).doubt


def test_a_foreign_change_outlives_the_adoption_of_a_topic():
    lake = Lake()
    lake.table.foreign_append()
    foreign = lake.head
    lake.log.grow(TOPIC)
    lake.adopt(succeeds=1)
    assert f"holds changes by snapshot {foreign}, " in head_of(lake).doubt
    assert head_of(lake).doubt == snapshot_of(lake, lake.head).doubt
    assert lake.view.rolled_back() is None


def test_a_head_that_others_changed_is_adopted_as_it_is():
    lake = Lake()
    lake.commit(5, 7)
    lake.table.foreign_append()
    revision = lake.view.revision
    lake.adopt_head()
    pin = head_of(lake)
    assert (pin.doubt, pin.watermark, pin.revision) == ("", {P0: 5, P1: 7}, revision + 1)
    assert lake.view.rolled_back() is None


def test_going_back_behind_a_foreign_change_is_the_way_to_be_without_it():
    lake = Lake()
    before = lake.commit(5, 7)
    lake.table.foreign_append()
    lake.commit(8, 9)
    lake.table.roll_back(before)
    lake.adopt_head()
    assert (head_of(lake).doubt, head_of(lake).watermark) == ("", {P0: 5, P1: 7})


def test_a_branch_moved_back_leaves_doubt_until_it_is_adopted():
    lake = Lake()
    old = lake.commit(5, 7)
    new = lake.commit(8, 9)
    lake.table.roll_back(old)
    pin = head_of(lake)
    assert (pin.snapshot_id, pin.watermark) == (old, {P0: 5, P1: 7})
    assert "rolled back" in pin.doubt
    assert snapshot_of(lake, new).watermark == {P0: 8, P1: 9}
    lake.adopt_head()
    assert (head_of(lake).watermark, head_of(lake).doubt) == ({P0: 5, P1: 7}, "")


def test_a_branch_moved_back_behind_its_first_commit_holds_none_of_its_rows():
    lake = Lake()
    lake.table.foreign_append()
    before = lake.head
    first = lake.table.snapshots[before]
    lake.table.snapshots[before] = replace(first, view=replace(first.view, parent_id=None))
    lake.commit(5, 7)
    lake.table.roll_back(before)
    pin = head_of(lake)
    assert pin.doubt
    assert pin.watermark == {}
    assert start_of(pin, P0) == 0


def test_a_snapshot_whose_own_parent_has_expired_is_taken_at_the_properties_word():
    """It holds what the writer committed: without a vector, the log's rows would be given once more."""
    lake = Lake()
    expired = lake.commit(5, 7)
    lake.table.compact()
    lake.expire(*[number for number in lake.table.snapshots if number != lake.head])
    assert expired not in lake.view.snapshots
    pin = head_of(lake)
    assert pin.doubt
    assert pin.watermark == {P0: 5, P1: 7}
    with pytest.raises(Gone, match="has no snapshot of the writer behind it"):
        snapshot_of(lake, lake.head)


def test_an_unknown_or_expired_snapshot_is_gone():
    lake = Lake()
    old = lake.commit(5, 7)
    lake.commit(8, 9)
    lake.expire(old)
    for snapshot_id in (old, 999, -1):
        with pytest.raises(Gone, match=f"snapshot {snapshot_id} of table trades is not kept any more"):
            snapshot_of(lake, snapshot_id)


def test_partitions_of_a_new_stream_begin_where_the_registry_says():
    """A pin of before the adoption, a registry of after it."""
    lake = Lake()
    old = lake.commit(5, 7)
    lake.append(0, *range(5))
    lake.append(1, *range(7))
    lake.log.grow(TOPIC)
    assert lake.adopt(succeeds=1) == 2
    pin = snapshot_of(lake, old)
    assert pin.watermark == {P0: 5, P1: 7}
    assert pin.open_partitions == tuple(StreamPartition(2, partition) for partition in range(3))
    assert [start_of(pin, where) for where in pin.open_partitions] == [5, 7, 0]
    assert pin.topic_of(StreamPartition(2, 2)) == TOPIC
    # The head knows both: the old stream's end and the new one's beginning.
    head = head_of(lake)
    assert [start_of(head, where) for where in (P0, P1, *head.open_partitions)] == [5, 7, 5, 7, 0]


def test_excluded_ranges_and_revision_are_the_snapshots_own():
    lake = Lake()
    before = lake.commit(5, 7)
    first = ExcludedRange(P0, 5, 9, "LOST", lake.view.revision + 1)
    middle = lake.commit(9, 7, lost=(first,))
    second = ExcludedRange(P1, 7, 8, "SHED", lake.view.revision + 1)
    lake.commit(9, 8, lost=(second,))
    assert [snapshot_of(lake, one).excluded for one in (before, middle)] == [(), (first,)]
    assert head_of(lake).excluded == (first, second)
    assert (
        head_of(lake).revision
        == snapshot_of(lake, middle).revision + 1
        == snapshot_of(lake, before).revision + 2
    )


def test_ranges_are_read_by_whoever_knows_where_they_are_kept():
    lake = Lake()
    lake.commit(5, 7)
    kept = (ExcludedRange(P0, 1, 2, "SHED", 1),)
    assert pin_head("trades", lake.view, lambda text: kept).excluded == kept
    assert pin_snapshot("trades", lake.view, lake.head, lambda text: kept).excluded == kept


def test_a_summary_that_cannot_be_read_is_gone():
    lake = Lake()
    lake.commit(5, 7)
    spoiled = replace(lake.view.snapshots[lake.head], checkpoint_text="0;1,0,5")
    broken = replace(lake.view, snapshots={lake.head: spoiled})
    with pytest.raises(Gone, match=f"snapshot {lake.head} of table trades cannot be read"):
        pin_snapshot("trades", broken, lake.head)
    with pytest.raises(CheckpointInvalid):
        pin_head("trades", broken)


def test_what_is_known_covers_a_history_of_its_revision_that_goes_no_further():
    watermark = {StreamPartition(1, 0): 7, StreamPartition(1, 1): 0}
    pin = replace(head_of(Lake()), watermark=watermark, revision=3)
    assert Known(3, {StreamPartition(1, 0): 7}).covers(pin)
    assert not Known(3, {StreamPartition(1, 0): 6, StreamPartition(1, 1): 9}).covers(pin)
    assert not Known(2, {StreamPartition(1, 0): 7}).covers(pin)
    assert not Known(None, {}).covers(replace(pin, watermark={}))
