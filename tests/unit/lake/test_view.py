"""What a table's snapshots and properties say together."""

from dataclasses import replace

import pytest

from seamark.lake.checkpoint import (
    REVISION,
    Checkpoint,
    Counters,
    StreamPartition,
    to_properties,
    to_summary,
)
from seamark.lake.errors import CheckpointInvalid
from seamark.lake.foreign import FOREIGN as FOREIGN_PROPERTY
from seamark.lake.foreign import Foreign
from seamark.lake.streams import Stream
from seamark.lake.view import SnapshotView, TableView

WHERE = StreamPartition(1, 0)
OLD = {WHERE: Checkpoint(10, 0, "a" * 20, 1, 5, Counters(written=10))}
NEW = {WHERE: Checkpoint(20, 0, "b" * 20, 1, 6, Counters(written=20))}
REPLACE, FOREIGN = "replace", "append"


def own(number, parent, points, revision=0):
    return SnapshotView(number, parent, number, "append", to_summary(points, revision))


def other(number, parent, operation):
    return SnapshotView(number, parent, number, operation, None)


def view(head, *snapshots, points=NEW, properties=None):
    return TableView(
        "uuid",
        head,
        to_properties(points, "uuid") | (properties or {}),
        {snapshot.snapshot_id: snapshot for snapshot in snapshots},
        frozenset(),
        "0.0",
        None,
    )


HISTORY = (own(1, None, OLD), own(2, 1, NEW))


def test_a_table_whose_head_is_the_writers_belongs_together():
    table = view(2, *HISTORY)
    assert table.rolled_back() is None
    assert table.path_to_own(2) == (2,)
    assert table.own_summary(2).snapshot_id == 2
    assert not table.foreign(2)


def test_compaction_on_top_of_the_writers_snapshot_changes_nothing():
    table = view(4, *HISTORY, other(3, 2, REPLACE), other(4, 3, REPLACE))
    assert table.rolled_back() is None
    assert table.path_to_own(4) == (4, 3, 2)
    assert table.own_summary(4).snapshot_id == 2
    assert not table.foreign(4)


@pytest.mark.parametrize("operation", ["append", "delete", "overwrite"])
def test_a_foreign_change_is_named_but_is_no_roll_back(operation):
    table = view(4, *HISTORY, other(3, 2, operation), other(4, 3, REPLACE))
    assert table.foreign(4) == Foreign(1, (3,))
    assert not table.foreign(2)
    assert table.rolled_back() is None


def test_foreign_changes_behind_an_own_snapshot_are_those_that_its_summary_carries():
    marked = replace(own(3, 2, NEW), foreign_text="1:2")
    snapshots = (own(1, None, OLD), other(2, 1, FOREIGN), marked, other(4, 3, REPLACE), other(5, 4, FOREIGN))
    table = view(5, *snapshots, properties={FOREIGN_PROPERTY: "1:2"})
    assert table.foreign(1) == Foreign()
    assert table.foreign(2) == table.foreign(3) == table.foreign(4) == Foreign(1, (2,))
    assert table.foreign(5) == Foreign(2, (2, 5))
    assert table.rolled_back() is None


def test_a_mark_of_foreign_changes_that_was_edited_is_noticed():
    marked = replace(own(2, 1, NEW), foreign_text="1:9")
    reason = view(2, HISTORY[0], marked).rolled_back()
    assert "seamark.foreign is '' against '1:9'" in reason
    assert view(2, *HISTORY, properties={FOREIGN_PROPERTY: "1:9"}).rolled_back() is not None
    assert view(2, HISTORY[0], marked, properties={FOREIGN_PROPERTY: "1:9"}).rolled_back() is None


def test_a_head_moved_back_is_noticed_and_named():
    reason = view(1, *HISTORY).rolled_back()
    assert "snapshot 1 behind head 1 differs from the properties (1.0: property" in reason
    assert "next=20" in reason
    assert "next=10" in reason


def test_a_head_moved_back_below_compaction_is_noticed():
    table = view(5, *HISTORY, other(5, 1, REPLACE))
    assert table.path_to_own(5) == (5, 1)
    assert "snapshot 1 behind head 5" in table.rolled_back()


def test_a_head_without_the_writer_behind_it_is_noticed():
    for table in (view(None), view(3, other(3, None, FOREIGN)), view(3, *HISTORY, other(3, 99, REPLACE))):
        assert "has no snapshot of the writer behind it" in table.rolled_back()


def test_a_partition_more_or_less_than_the_summary_says_is_noticed():
    more = {**NEW, StreamPartition(2, 0): NEW[WHERE]}
    assert "2.0: property Checkpoint" in view(2, *HISTORY, points=more).rolled_back()
    assert "2.0: property None" in view(2, HISTORY[0], own(2, 1, more)).rolled_back()


@pytest.mark.parametrize(
    "change",
    [
        {"next": 21},
        {"leader_epoch": 3},
        {"batch_id": "c" * 20},
        {"attempt": 2},
        {"append_us": 7},
        {"counters": Counters(written=19, dlq=1)},
    ],
)
def test_every_field_of_a_checkpoint_is_compared(change):
    points = {WHERE: replace(NEW[WHERE], **change)}
    assert view(2, *HISTORY, points=points).rolled_back() is not None


def test_another_revision_is_noticed():
    reason = view(2, *HISTORY, properties={REVISION: "4"}).rolled_back()
    assert "revision is 4 against 0" in reason
    same = view(2, HISTORY[0], own(2, 1, NEW, revision=4), properties={REVISION: "4"})
    assert same.rolled_back() is None


def test_a_table_without_checkpoints_cannot_have_been_rolled_back():
    assert view(None, points={}).rolled_back() is None
    assert view(3, other(3, None, FOREIGN), points={}).rolled_back() is None


def test_the_way_back_ends_where_snapshots_have_expired():
    table = view(4, other(4, 3, REPLACE), other(3, 2, REPLACE))
    assert table.path_to_own(4) == (4, 3)
    assert table.own_summary(4) is None
    assert table.path_to_own(77) == table.path_to_own(None) == ()


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²"])
def test_a_revision_that_is_no_number_is_named(text):
    with pytest.raises(CheckpointInvalid, match=r"table property seamark\.revision was"):
        _ = view(2, *HISTORY, properties={REVISION: text}).revision


def streams(*entries):
    made = [
        Stream(number, "c", f"i{number}", topic, 1, (0,), "{}", "h", succeeds)
        for number, topic, succeeds in entries
    ]
    return dict(one.to_property() for one in made)


def test_the_stream_of_a_topic_is_the_one_that_is_open():
    table = view(2, *HISTORY, properties=streams((1, "t", None), (2, "t", 1), (3, "u", None)))
    assert table.stream_of("t").stream_id == 2
    assert table.stream_of("u").stream_id == 3
    assert table.stream_of("v") is None


def test_two_open_streams_of_a_topic_are_an_error():
    table = view(2, *HISTORY, properties=streams((1, "t", None), (2, "t", None)))
    with pytest.raises(CheckpointInvalid, match="topic t has 2 open streams, must have one"):
        table.stream_of("t")
