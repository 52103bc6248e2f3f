"""The mark of foreign changes: all are counted, the first are named, and it does not grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.lake.errors import CheckpointInvalid
from seamark.lake.foreign import Foreign

LONGEST_ID = 2**63 - 1


@given(st.lists(st.lists(st.integers(1, LONGEST_ID), max_size=9), max_size=9))
def test_changes_of_several_commits_are_one_mark_and_come_back_from_its_text(commits):
    mark = Foreign()
    for changes in commits:
        mark = Foreign.from_text(mark.to_text()).followed_by(changes)
    everything = [one for changes in commits for one in changes]
    assert (mark.count, list(mark.first)) == (len(everything), everything[:5])
    assert Foreign.from_text(mark.to_text()) == mark
    assert bool(mark) == bool(everything)
    assert len(mark.to_text()) <= 120


def test_nothing_is_marked_by_an_empty_text():
    assert Foreign().to_text() == ""
    assert Foreign.from_text("") == Foreign.from_text(None) == Foreign()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([3], "snapshot 3"),
        ([3, 4], "snapshots 3, 4"),
        ([3, 4, 5, 6, 7, 8, 9], "snapshots 3, 4, 5, 6, 7 and 2 more"),
    ],
)
def test_the_snapshots_are_named(changes, text):
    assert str(Foreign().followed_by(changes)) == text


@pytest.mark.parametrize("text", ["3", "x:3", "2:", "2:3,y", "1:2:3", "1:2,3"])
def test_a_text_that_is_no_mark_is_named(text):
    with pytest.raises(CheckpointInvalid, match=rf"seamark\.foreign was '{text}'"):
        Foreign.from_text(text)
