"""The fold decides whole runs as its rule decides record by record."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.sequencing.fold import append_times
from seamark.sequencing.state import PartitionState
from unit.sequencing.first_occurrence import SECOND_US, Rule, cut, histories, judged

CUTS = st.lists(st.integers(0, 60), max_size=6)
TRADES, QUOTES = RecordKind.TRADES, RecordKind.QUOTES


def in_runs(kind, runs):
    state, verdicts = PartitionState(), []
    for run in runs:
        found, state = judged(state, kind, run)
        verdicts += found
    return verdicts, state


def by_rule(kind, records):
    rule = Rule(kind)
    return [rule.judge(record) for record in records], rule.state()


@settings(max_examples=300, deadline=None)
@given(histories(), CUTS)
@example([(0, 1, 5), (0, 1, 5), (0, 1, 6), (0, 1, 5), (0, 1, 6)], [])
@example([(0, 1, 5), (0, 2, 9), (0, 1, 7), (0, 1, 10), (0, 2, 9), (0, 3, 10)], [3])
def test_trades_are_judged_as_the_rule_says_however_they_are_split(records, cuts):
    assert in_runs(TRADES, cut(records, cuts)) == by_rule(TRADES, records)


@settings(max_examples=300, deadline=None)
@given(histories(step_us=20 * SECOND_US), CUTS)
@example([(0, 5, 0), (0, 5, 60 * SECOND_US), (0, 5, 60 * SECOND_US + 1), (0, 4, 0)], [])
def test_quotes_are_judged_as_the_rule_says_however_they_are_split(records, cuts):
    assert in_runs(QUOTES, cut(records, cuts)) == by_rule(QUOTES, records)


@pytest.mark.parametrize("kind", [TRADES, QUOTES])
def test_a_fold_leaves_the_state_it_began_with_as_it_was(kind):
    _, before = judged(PartitionState(), kind, [(0, 1, 5), (1, 7, 5)])
    first = judged(before, kind, [(0, 2, 6), (2, 1, 1)])
    assert judged(before, kind, [(0, 2, 6), (2, 1, 1)]) == first
    assert len(before.trades) + len(before.quotes) == 2


def test_a_replayed_range_is_all_repeats():
    feed = [(0, number, number) for number in range(100)]
    _, state = judged(PartitionState(), TRADES, feed)
    verdicts, after = judged(state, TRADES, feed[30:])
    assert verdicts == [None] * 70
    assert after == state


def test_an_unbroken_feed_is_one_interval():
    _, state = in_runs(TRADES, [[(0, at, at)] for at in range(200)])
    (sequence,) = state.trades.values()
    assert list(sequence.epochs[0].ids) == [(0, 199)]


def test_a_late_repeat_from_before_a_reset_stays_a_repeat():
    feed = [(0, 1, 10), (0, 2, 20), (0, 1, 30)]
    verdicts, state = judged(PartitionState(), TRADES, feed)
    assert verdicts == [0, 0, 1]
    assert judged(state, TRADES, [(0, 2, 20), (0, 1, 30), (0, 3, 25), (0, 2, 31)])[0] == [None, None, 0, 1]


def test_resets_are_counted_one_by_one():
    verdicts, _ = judged(PartitionState(), TRADES, [(0, 7, time_us) for time_us in (1, 2, 3, 2, 4)])
    assert verdicts == [0, 1, 2, None, 3]


@pytest.mark.parametrize(
    ("later_us", "verdict"), [(60 * SECOND_US, None), (60 * SECOND_US + 1, 1), (-1, None)]
)
def test_a_quote_with_a_smaller_id_opens_an_epoch_only_after_sixty_seconds(later_us, verdict):
    _, state = judged(PartitionState(), QUOTES, [(0, 100, SECOND_US)])
    assert judged(state, QUOTES, [(0, 3, SECOND_US + later_us)])[0] == [verdict]
    assert judged(state, QUOTES, [(0, 100, SECOND_US + later_us)])[0] == [verdict]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), CUTS)
def test_the_append_time_never_steps_back_however_runs_are_split(times_us, cuts):
    state, running = PartitionState(), []
    for run in cut(times_us, cuts):
        found, state = append_times(state, np.array(run, np.int64))
        running += found.tolist()
    assert running == [max(times_us[: at + 1]) for at in range(len(times_us))]
    assert state.append_us == max(times_us)


def test_no_records_leave_the_append_time_as_it_was():
    running, state = append_times(PartitionState(append_us=7), np.empty(0, np.int64))
    assert (len(running), state.append_us) == (0, 7)
