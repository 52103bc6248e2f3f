"""State files in a folder, and which of them a table still names."""

import pytest

from seamark.lake.checkpoint import Checkpoint, StreamPartition, to_properties, to_summary
from seamark.lake.errors import CatalogUnavailable, StateMissing
from seamark.lake.states import ObjectStateStore, named_states
from seamark.lake.view import SnapshotView, TableView


@pytest.fixture
def store(tmp_path):
    return ObjectStateStore(f"file://{tmp_path}/states/", {})


def test_what_is_put_is_there_until_it_is_deleted(store):
    store.put("t/b/1", b"one")
    store.put("t/b/2", b"")
    store.put("tt/b/1", b"of another table")
    assert (store.get("t/b/1"), store.get("t/b/2")) == (b"one", b"")
    assert sorted(store.names("t")) == ["t/b/1", "t/b/2"]
    store.delete("t/b/1")
    assert list(store.names("t")) == ["t/b/2"]
    with pytest.raises(StateMissing, match="t/b/1 is not there"):
        store.get("t/b/1")


def test_deleting_what_is_gone_and_listing_nothing_are_no_errors(store):
    store.delete("t/b/1")
    assert list(store.names("t")) == []


def test_a_folder_that_cannot_be_written_is_said_to_be_unavailable(tmp_path):
    (tmp_path / "states").write_text("a file, no folder")
    with pytest.raises(CatalogUnavailable, match="state file"):
        ObjectStateStore(f"file://{tmp_path}/states", {}).put("t/b/1", b"")


@pytest.mark.parametrize("uri", ["", "/tmp/x", "gs://bucket/x", "s3:/bucket"])
def test_another_address_is_refused(uri):
    with pytest.raises(ValueError, match="must begin with s3:// or file://"):
        ObjectStateStore(uri, {})


def test_a_state_is_named_by_a_property_or_by_any_kept_summary():
    def point(batch_id, attempt):
        return {StreamPartition(1, 0): Checkpoint(5, 0, batch_id, attempt, 0)}

    view = TableView(
        "uuid",
        3,
        to_properties(point("new", 4), "uuid"),
        {
            1: SnapshotView(1, None, 1, "append", to_summary(point("old", 1), 0)),
            2: SnapshotView(2, 1, 2, "replace", None),
            3: SnapshotView(3, 2, 3, "append", to_summary(point("new", 4), 0)),
        },
        frozenset(),
        "0.0",
        None,
    )
    assert named_states(view) == {"uuid/old/1", "uuid/new/4"}
