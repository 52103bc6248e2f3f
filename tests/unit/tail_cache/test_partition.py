"""One partition's tail: counters against the commit's, what may go, and how old a record is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import Checkpoint, Counters
from seamark.tail_cache.blocks import resident
from seamark.tail_cache.partition import AppendTimes, Differs, Excluded, PartitionTail
from unit.tail_cache.observed import TOPIC, WHERE, between, observed

REJECTS = (7, 130, 131, 290)


def point(next_: int, **counters: int) -> Checkpoint:
    return Checkpoint(next_, 0, "batch", 1, 5, Counters(**counters))


def truth(next_: int) -> Checkpoint:
    """What a writer that is right says at this offset."""
    dlq = sum(offset < next_ for offset in REJECTS)
    # A dead letter is not among the rows: take its row, where it has one, for none.
    written = len(between(0, next_))
    return point(next_, written=written, duplicate=next_ - written - dlq, dlq=dlq)


def tail_of(next_: int, step: int = 50) -> PartitionTail:
    tail = PartitionTail(WHERE, TOPIC, point(0), 0, 0, 0, 0, 0)
    extend(tail, next_, step)
    return tail


def extend(tail: PartitionTail, next_: int, step: int = 50) -> None:
    for first in range(tail.hi, next_, step):
        end = min(next_, first + step)
        tail.append(
            resident(first, end, between(first, end)), [at for at in REJECTS if first <= at < end], end
        )


@settings(deadline=None)
@given(st.integers(1, 40), st.lists(st.integers(0, 300), max_size=8))
def test_counters_agree_at_any_offset_that_a_right_writer_commits(step, commits):
    tail = tail_of(300, step)
    for next_ in sorted(commits):
        assert tail.commit(truth(next_)) is None
        assert tail.committed == truth(next_)


@pytest.mark.parametrize("wrong", [{"written": -1, "duplicate": 1}, {"duplicate": -1, "dlq": 1}])
def test_a_difference_of_one_is_found_and_named(wrong):
    tail = tail_of(300)
    assert tail.commit(truth(100)) is None
    right = truth(250)
    counters = right.counters + Counters(**wrong)
    verdict = tail.commit(
        point(250, written=counters.written, duplicate=counters.duplicate, dlq=counters.dlq)
    )
    assert verdict == Differs(100, 250, right.counters, counters)


def test_a_commit_beyond_what_was_read_is_compared_when_it_is_reached():
    tail = tail_of(200)
    wrong = point(250, written=250)
    assert tail.commit(wrong) is None
    extend(tail, 250)
    assert isinstance(tail.commit(wrong), Differs)


def test_offsets_that_the_commit_excludes_are_named():
    tail = tail_of(200)
    counters = truth(100).counters
    shed = point(100, written=counters.written - 5, duplicate=counters.duplicate, dlq=counters.dlq, shed=5)
    assert tail.commit(shed) == Excluded(0, 100, 5, 0)


def test_offsets_lost_before_the_start_are_excluded_not_different():
    tail = PartitionTail(WHERE, TOPIC, point(0), 40, 40, 0, 40, 40)  # the log begins behind H
    extend(tail, 100)
    rows = len(between(40, 100))
    dlq = 0
    assert tail.commit(point(100, written=rows, duplicate=60 - rows - dlq, lost=40)) == Excluded(
        0, 100, 0, 40
    )


def test_a_checkpoint_that_moves_back_is_taken_and_compares_nothing():
    tail = tail_of(200)
    assert tail.commit(truth(100)) is None
    assert tail.commit(truth(50)) is None
    assert tail.committed == truth(50)
    assert tail.commit(truth(200)) is None


def test_only_what_lies_below_and_was_compared_goes():
    tail = tail_of(200, 80)
    assert tail.evict_below(150) == ()
    tail.commit(truth(100))
    gone = tail.evict_below(150)
    assert gone
    assert tail.lo == gone[-1].hi <= 100
    assert tail.blocks[0].lo == tail.lo
    assert tail.evict_below(0) == ()


def test_lo_reaches_the_commit_when_blocks_end_there():
    tail = PartitionTail(WHERE, TOPIC, point(0), 0, 0, 0, 0, 0)
    extend(tail, 100, 100)
    tail.commit(truth(100))
    extend(tail, 120, 5)
    tail.evict_below(100)
    assert (tail.lo, tail.hi) == (100, 120)


def test_a_block_that_does_not_follow_is_refused():
    tail = tail_of(100)
    with pytest.raises(ValueError, match=r"1\.0: block began at 120, must begin at hi, which was 100"):
        tail.append(resident(120, 130, between(120, 130)), [], 0)


@pytest.mark.parametrize("at", [0, 1, 49, 50, 51, 199, 200, 500])
def test_what_is_cut_off_is_gone_and_nothing_else(at):
    tail = tail_of(200)
    tail.cut(at)
    assert tail.hi == min(at, 200)
    offsets = [
        offset
        for block in tail.blocks
        for offset in block.rows.slice(["kafka_offset"], 0, block.rows.count)["kafka_offset"]
    ]
    assert offsets == between(0, min(at, 200))["kafka_offset"].to_list()


def test_times_of_a_view_are_those_of_all_its_rows():
    tail = tail_of(300)
    column = observed()["timestamp"].to_physical()[: len(between(0, 300))]
    assert tail.view().times()["timestamp"] == (column.min(), column.max())
    assert PartitionTail(WHERE, TOPIC, point(0), 0, 0, 0, 0, 0).view().times() == {}


# Ages


@settings(deadline=None)
@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=300), st.data())
def test_an_append_time_is_never_later_than_the_records_and_at_most_a_step_earlier(gaps, data):
    index, times, now = AppendTimes(), [], 0
    for offset, gap in enumerate(gaps):
        now += gap
        times.append(now)
        index.add(offset, now)
    offset = data.draw(st.integers(0, len(gaps) - 1))
    index.forget_below(data.draw(st.integers(0, offset)))
    found = index.at(offset)
    assert found is not None
    assert times[offset] - 10_000 < found <= times[offset]


def test_before_the_first_record_nothing_is_known():
    index = AppendTimes()
    assert index.at(5) is None
    index.add(10, 1_000)
    assert index.at(9) is None
    assert index.at(10) == 1_000


def test_a_log_that_nobody_commits_does_not_fill_the_memory():
    index = AppendTimes()
    for offset in range(100_000):  # a quarter of an hour
        index.add(offset, offset * 10_000)
    assert len(index) <= AppendTimes._MOST
    for offset in (0, 777, 50_000, 99_999):
        found = index.at(offset)
        assert found is not None
        age_us = (100_000 - offset) * 10_000
        assert offset * 10_000 - age_us / 100 <= found <= offset * 10_000
    assert index.at(99_999) == 99_999 * 10_000
