"""A state file gives back what was written, or says that it does not."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.sequencing.errors import StateCorrupt
from seamark.sequencing.state import PartitionState, SequenceKey, TradeEpoch, TradeSequence, dump, load
from unit.sequencing.first_occurrence import KEYS, SECOND_US, Rule, histories, intervals


@st.composite
def states(draw):
    """A state over trades and quotes."""
    found = []
    for kind in (RecordKind.TRADES, RecordKind.QUOTES):
        rule = Rule(kind)
        for record in draw(histories(step_us=20 * SECOND_US)):
            rule.judge(record)
        found.append(rule.state())
    return PartitionState(draw(st.integers(0, 2**53)), found[0].trades, found[1].quotes)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["1.0", "1.1", "2.0"]), states()))
def test_what_is_dumped_is_loaded(named):
    assert load(dump(named)) == named


@settings(max_examples=50, deadline=None)
@given(states(), st.randoms())
def test_equal_states_give_equal_bytes(state, random):
    def shuffled(mapping):
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    same = PartitionState(state.append_us, shuffled(state.trades), shuffled(state.quotes))
    assert dump({"1.0": state, "1.1": PartitionState()}) == dump({"1.1": PartitionState(), "1.0": same})


@settings(max_examples=50, deadline=None)
@given(states(), states())
def test_different_states_give_different_bytes(one, other):
    assert (dump({"1.0": one}) == dump({"1.0": other})) == (one == other)


def example_bytes():
    sequence = TradeSequence((TradeEpoch(-5, intervals({1, 2, 3, 9})), TradeEpoch(7, intervals({1}))), 9)
    return dump({"1.0": PartitionState(5, {KEYS[0]: sequence}), "1.1": PartitionState()})


def test_any_flipped_bit_is_noticed():
    data = example_bytes()
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(StateCorrupt):
                load(bytes(damaged))


def test_any_other_length_is_noticed():
    data = example_bytes()
    for length in range(len(data)):
        with pytest.raises(StateCorrupt):
            load(data[:length])
    for behind in (b"\x00", b"\n", data):
        with pytest.raises(StateCorrupt):
            load(data + behind)


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", zlib.compress(b"{}"), b"seamark-state 2 " + b"0" * 64])
def test_what_is_no_state_file_is_refused(data):
    with pytest.raises(StateCorrupt, match="state file"):
        load(data)


def test_any_symbol_can_be_kept():
    keys = [SequenceKey("a", "b", "c", symbol) for symbol in ('"', "a:b", "\0", "币", "[]", "a,b")]
    state = PartitionState(1, {key: TradeSequence() for key in keys})
    assert load(dump({"1.0": state})) == {"1.0": state}
