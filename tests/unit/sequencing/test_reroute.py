"""A new stream remembers all that the one before it had accepted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.sequencing.reroute import reroute
from seamark.sequencing.state import PartitionState, QuoteSequence
from unit.sequencing.first_occurrence import KEYS, SECOND_US, Rule, histories, judged

KINDS = [RecordKind.TRADES, RecordKind.QUOTES]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_each_key_goes_on_in_its_new_partition_with_the_verdicts_it_would_have_had(kind, data):
    history = histories(step_us=20 * SECOND_US)
    before, after = data.draw(history), data.draw(history)
    old_home = {key: data.draw(st.integers(0, 2)) for key in range(len(KEYS))}
    new_home = {key: data.draw(st.integers(0, 4)) for key in range(len(KEYS))}
    rule = Rule(kind)
    for record in before:
        rule.judge(record)
    states = [PartitionState(append_us=7)] * 3
    for home in range(3):
        here = [record for record in before if old_home[record[0]] == home]
        if here:
            _, states[home] = judged(states[home], kind, here)
    moved = reroute(states, 5, {KEYS[key].symbol: home for key, home in new_home.items()}.__getitem__)

    known = {key: state for part in moved for key, state in ({**part.trades, **part.quotes}).items()}
    assert known == {**rule.state().trades, **rule.state().quotes}
    assert sum(len(part.trades) + len(part.quotes) for part in moved) == len(known)
    assert all(part.append_us == 0 for part in moved)
    for home in range(5):
        here = [record for record in after if new_home[record[0]] == home]
        if here:
            assert judged(moved[home], kind, here)[0] == [rule.judge(record) for record in here]


@settings(max_examples=100, deadline=None)
@given(histories(), histories())
def test_a_trade_accepted_in_either_of_two_partitions_is_a_repeat_where_they_join(one, other):
    verdicts, states = [], []
    for records in (one, other):
        found, state = judged(PartitionState(), RecordKind.TRADES, records)
        verdicts.append(found)
        states.append(state)
    (joined,) = reroute(states, 1, lambda symbol: 0)
    for records, found in zip((one, other), verdicts, strict=True):
        for record, epoch in zip(records, found, strict=True):
            if epoch == 0 and all(len(sequence.epochs) == 1 for sequence in joined.trades.values()):
                assert judged(joined, RecordKind.TRADES, [record])[0] == [None]


def test_quotes_that_join_go_on_from_the_greatest_of_both():
    key = KEYS[0]
    states = [
        PartitionState(quotes={key: QuoteSequence(1, 5, 100)}),
        PartitionState(quotes={key: QuoteSequence(0, 50, 200)}),
        PartitionState(quotes={key: QuoteSequence(1, 6, 90)}),
    ]
    for order in (states, states[::-1]):
        assert reroute(order, 1, lambda symbol: 0)[0].quotes == {key: QuoteSequence(1, 6, 200)}


def test_nothing_remembered_gives_empty_states():
    assert reroute([], 3, lambda symbol: 0) == [PartitionState()] * 3
