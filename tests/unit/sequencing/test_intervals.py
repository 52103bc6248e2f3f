"""Intervals are a set."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.sequencing.intervals import Intervals
from unit.sequencing.first_occurrence import intervals

IDS = st.lists(st.integers(0, 40) | st.integers(2**63 - 4, 2**63 - 1), max_size=30)
ENDS = np.array([-(2**63), -1, 0, 1, 2**63 - 2, 2**63 - 1], np.int64)


def of(ids):
    return Intervals.of(np.array(ids, np.int64))


@settings(max_examples=200, deadline=None)
@given(IDS)
def test_a_set_of_ids_is_kept_as_its_unbroken_runs(ids):
    assert of(ids) == intervals(set(ids))
    covered = {number for first, last in of(ids) for number in range(first, last + 1)}
    assert covered == set(ids)


@settings(max_examples=200, deadline=None)
@given(IDS, IDS)
def test_union_and_membership_are_those_of_sets(one, other):
    union = of(one).union(of(other))
    assert union == of(other).union(of(one)) == intervals(set(one) | set(other))
    asked = np.concatenate((np.arange(-2, 45), ENDS))
    expected = [number in {*one, *other} for number in asked.tolist()]
    assert union.contains(asked).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(IDS, max_size=6))
def test_the_order_of_unions_is_of_no_account(parts):
    forward, backward = Intervals.empty(), Intervals.empty()
    for part in parts:
        forward = forward.union(of(part))
    for part in reversed(parts):
        backward = backward.union(of(part))
    assert forward == backward
    assert hash(forward) == hash(backward)


def test_a_union_changes_neither_of_its_parts():
    one, other = of([1, 2, 3]), of([4, 5])
    assert list(one.union(other)) == [(1, 5)]
    assert (list(one), list(other)) == ([(1, 3)], [(4, 5)])


def test_the_greatest_id_there_is_joins_its_neighbour():
    assert list(of([2**63 - 2]).union(of([2**63 - 1]))) == [(2**63 - 2, 2**63 - 1)]
    assert list(of([2**63 - 1]).union(of([0]))) == [(0, 0), (2**63 - 1, 2**63 - 1)]


def test_intervals_are_unlike_anything_else():
    assert of([1]) != of([2])
    assert of([1]) != [(1, 1)]
