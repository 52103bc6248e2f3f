"""Windows tile all time, whatever the groups; each is about as large as asked for."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.direct.plan import Plan
from seamark.query_gateway.sources import Window

GROUPS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**5)).map(
        lambda one: (1_723_161_255_000_000 + one[0], 1_723_161_255_000_000 + one[0] + one[1], one[2])
    ),
    max_size=20,
)
AT = st.integers(-(10**6), 3 * 10**6).map(lambda at: 1_723_161_255_000_000 + at)
INSTANTS = st.none() | AT


def plan(groups, numbers=None, predicate=Predicate(), kind=RecordKind.TRADES) -> Plan:
    """Row groups of one file: least and greatest time, rows. `numbers`: of the groups; by default 0, 1, …"""
    numbers = range(len(groups)) if numbers is None else numbers
    frame = pl.DataFrame(
        [(*one, "f", number) for one, number in zip(groups, numbers, strict=True)],
        schema={
            "timestamp_min": pl.Int64,
            "timestamp_max": pl.Int64,
            "rows": pl.Int64,
            "path": pl.String,
            "group": pl.Int32,
        },
        orient="row",
    )
    return Plan(kind, None, predicate, (), frame, refined=True)  # type: ignore[arg-type]


@given(GROUPS, INSTANTS, INSTANTS, st.sampled_from(Clock), st.integers(1, 10**5))
def test_windows_tile_all_time(groups, start, end, clock, target):
    if start is not None and end is not None and start >= end:
        start, end = None, None
    windows = plan(groups, predicate=Predicate(from_us=start, to_us=end, clock=clock)).windows(target)
    assert windows[0].from_us is None
    assert windows[-1].to_us is None
    for one, following in zip(windows[:-1], windows[1:], strict=True):
        assert one.to_us == following.from_us
        assert one.to_us is not None
        assert one.from_us is None or one.from_us < one.to_us
    total = sum(rows for _, _, rows in groups)
    assert len(windows) <= max(1, total // target)


def test_even_rows_make_even_windows():
    groups = [(at * 60, at * 60 + 59, 1_000) for at in range(100)]
    windows = plan(groups).windows(5_000)
    edges = [window.to_us for window in windows[:-1]]
    assert edges == [at * 300 for at in range(1, 20)]


def test_only_the_time_asked_for_is_divided():
    groups = [(0, 1_000_000, 1_000_000)]
    windows = plan(groups, predicate=Predicate(from_us=500_000, to_us=600_000)).windows(250_000)
    assert windows == [Window()]
    edges = [one.to_us for one in plan(groups, predicate=Predicate(from_us=500_000)).windows(250_000)]
    assert edges == [750_000, None]


@pytest.mark.parametrize("bounds", [(None, None), (0, None)])
def test_groups_without_bounds_are_no_reason_to_divide(bounds):
    assert plan([(*bounds, 10**6)]).windows(10) == [Window()]


def test_a_large_row_group_is_not_decoded_for_many_small_windows():
    assert len(plan([(0, 10**6, 9_000_000)]).windows(250_000)) <= 4


def test_rows_in_the_order_of_the_log_have_one_window():
    groups = [(at, at, 1_000) for at in range(100)]
    assert plan(groups, kind=RecordKind.FEED_EVENTS).windows(10) == [Window()]


@given(
    GROUPS,
    st.lists(AT, min_size=2, max_size=6, unique=True).map(sorted),
)
def test_stretches_name_the_groups_that_may_lie_in_them_in_whatever_order_they_were_listed(groups, edges):
    found = list(map(set, plan(groups).made_of(edges)))
    assert len(found) == len(edges) - 1
    for first, next_, names in zip(edges, edges[1:], found, strict=False):
        assert names == {
            ("f", at) for at, (low, high, _) in enumerate(groups) if low < next_ and high >= first
        }
    assert plan(groups).made_of(edges) == plan(groups[::-1], range(len(groups))[::-1]).made_of(edges)


def test_a_group_that_does_not_say_its_times_may_lie_anywhere():
    found = plan([(None, None, 5), (0, 9, 5)]).made_of([0, 10, 20])
    assert list(map(set, found)) == [{("f", 0), ("f", 1)}, {("f", 0)}]
