from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.quotas import Quota, Quotas

QUOTA = Quota(units_per_second=2.0, burst=10.0, concurrency=2)


def test_waiting_as_long_as_it_says_is_enough():
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    quotas.charge("a", QUOTA, 10)
    with pytest.raises(TooCostly) as refused:
        quotas.charge("a", QUOTA, 3)
    assert refused.value.retry_after_seconds == pytest.approx(1.5)
    now[0] += 1.5
    quotas.charge("a", QUOTA, 3)


def test_callers_do_not_share():
    quotas = Quotas(lambda: 0.0)
    quotas.charge("a", QUOTA, 10)
    quotas.charge("b", QUOTA, 10)


def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_owed():
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    quotas.charge("a", QUOTA, 10)
    quotas.settle("a", QUOTA, charged=10, used=1)
    quotas.charge("a", QUOTA, 9)
    quotas.settle("a", QUOTA, charged=9, used=15)
    now[0] += 3.0  # 6 units: what is owed
    with pytest.raises(TooCostly):
        quotas.charge("a", QUOTA, 0.1)
    now[0] += 0.1
    quotas.charge("a", QUOTA, 0.1)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 11)), max_size=60))
def test_no_more_is_ever_taken_than_burst_and_refill(steps: list[tuple[float, float]]):
    now, taken = [0.0], 0.0
    quotas = Quotas(lambda: now[0])
    for pause, units in steps:
        now[0] += pause
        try:
            quotas.charge("a", QUOTA, units)
        except TooCostly:
            continue
        taken += units
    assert taken <= QUOTA.burst + QUOTA.units_per_second * now[0] + 1e-6


def test_no_quota_is_no_limit():
    quotas = Quotas(lambda: 0.0)
    quotas.charge("a", None, 1e18)
    with quotas.admitted("a", None), quotas.admitted("a", None), quotas.admitted("a", None):
        pass


def test_a_request_that_failed_frees_its_place():
    quotas = Quotas(lambda: 0.0)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), quotas.admitted("a", QUOTA):
            raise ZeroDivisionError
    with quotas.admitted("a", QUOTA), quotas.admitted("a", QUOTA):
        with pytest.raises(TooCostly) as refused, quotas.admitted("a", QUOTA):
            pass
        assert refused.value.retry_after_seconds == 1.0


def test_so_many_answers_begin_at_a_time_and_a_place_becomes_free():
    quotas = Quotas(lambda: 0.0, most_beginning=2)
    quotas.begin()
    quotas.begin()
    with pytest.raises(TooCostly, match="that have not begun were 2, must be less than 2") as refused:
        quotas.begin()
    assert refused.value.retry_after_seconds == 1.0
    quotas.begun()
    quotas.begin()
