"""State files go an hour after nothing names them, and none before."""

import pytest

from seamark.consumer_writer.state_cleanup import StateCleanup
from seamark.lake.checkpoint import SUMMARY, Checkpoint, to_properties, to_summary
from seamark.lake.errors import CatalogUnavailable
from seamark.lake.view import Change
from twins.lake import Answer, MemoryStates, MemoryTable
from unit.consumer_writer.tables import P0

HOUR = 3600.0


class Lake:
    """A table, its state files, and a cleanup over both."""

    def __init__(self):
        self.table, self.states = MemoryTable(), MemoryStates()
        self.cleanup = StateCleanup(self.table, self.states, HOUR)

    def commit(self, number, expire=()):
        """A commit that names the state file of its batch."""
        points = {P0: Checkpoint(number, 0, f"batch{number}", 1, 0)}
        self.states.put(points[P0].state_name(self.table.uuid), b"")
        view = self.table.load()
        properties = to_properties(points, self.table.uuid)
        self.table.commit(view, Change(properties, {SUMMARY: to_summary(points, 0)}, expire=expire))

    def attempt(self, name):
        """A state file of an attempt that nobody has committed."""
        self.states.put(f"{self.table.uuid}/{name}/1", b"")

    @property
    def left(self):
        return sorted(name.split("/")[1] for name in self.states.files)


@pytest.fixture
def lake():
    return Lake()


def test_files_that_a_property_or_a_kept_snapshot_names_stay_for_ever(lake):
    lake.commit(1)
    lake.commit(2)
    for hours in range(5):
        assert lake.cleanup.sweep(hours * HOUR) == 0
    assert lake.left == ["batch1", "batch2"]


def test_a_file_goes_an_hour_after_it_was_first_seen_without_a_name(lake):
    lake.commit(1)
    lake.attempt("failed")
    assert lake.cleanup.sweep(100.0) == 0
    assert lake.cleanup.sweep(100.0 + HOUR - 0.1) == 0
    assert lake.cleanup.sweep(100.0 + HOUR) == 1
    assert lake.left == ["batch1"]


def test_the_hour_begins_when_the_last_snapshot_that_names_a_file_expires(lake):
    lake.commit(1)
    lake.cleanup.sweep(0.0)
    lake.commit(2, expire=(1,))
    assert lake.cleanup.sweep(10 * HOUR) == 0
    assert lake.cleanup.sweep(11 * HOUR) == 1
    assert lake.left == ["batch2"]


def test_a_file_that_is_named_in_between_begins_its_hour_anew(lake):
    lake.attempt("batch1")
    lake.cleanup.sweep(0.0)
    lake.commit(1)
    lake.cleanup.sweep(0.9 * HOUR)
    lake.commit(2, expire=(1,))
    assert lake.cleanup.sweep(1.5 * HOUR) == 0
    assert lake.cleanup.sweep(2.5 * HOUR) == 1


def test_a_restart_begins_the_hour_anew(lake):
    lake.attempt("failed")
    lake.cleanup.sweep(0.0)
    again = StateCleanup(lake.table, lake.states, HOUR)
    assert again.sweep(HOUR) == 0
    assert again.sweep(2 * HOUR) == 1


def test_files_of_other_tables_stay(lake):
    lake.states.put("other-uuid/batch/1", b"")
    lake.cleanup.sweep(0.0)
    assert lake.cleanup.sweep(2 * HOUR) == 0
    assert lake.left == ["batch"]


def test_nothing_goes_while_the_catalog_does_not_answer(lake):
    lake.attempt("failed")
    lake.cleanup.sweep(0.0)
    lake.table.answer = Answer.UNAVAILABLE
    with pytest.raises(CatalogUnavailable):
        lake.cleanup.sweep(HOUR)
    assert lake.left == ["failed"]
    assert lake.cleanup.sweep(HOUR) == 1


class Listing(MemoryStates):
    """State files with something that happens right behind a listing."""

    happens = staticmethod(lambda: None)

    def names(self, below):
        found = super().names(below)
        self.happens()
        return found


def test_a_file_committed_right_behind_the_listing_stays(lake):
    lake.states = Listing()
    cleanup = StateCleanup(lake.table, lake.states, HOUR)
    lake.attempt("batch1")
    cleanup.sweep(0.0)
    lake.states.happens = lambda: lake.commit(1)
    assert cleanup.sweep(2 * HOUR) == 0
    assert lake.left == ["batch1"]
