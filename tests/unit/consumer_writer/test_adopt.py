"""An adoption takes its own topic in, whatever other adoptions do at the same time."""

import pytest

from seamark.consumer_writer.adopt import adopt, adopt_at_snapshot
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind
from seamark.stream.errors import Stopped
from twins.lake import Answer, MemoryStates, MemoryTable
from twins.log import MemoryLog

TRADES = RecordKind.TRADES
HERE, THERE = "market.crypto.trades.binance", "market.crypto.trades.kraken"


@pytest.fixture
def log():
    made = MemoryLog()
    made.create(HERE, 2)
    made.create(THERE, 3)
    return made


def take_in(table, log, topic, **options):
    routing = routing_for(topic, TRADES, log.partitions(topic), {})
    return adopt(table, MemoryStates(), log, TRADES, topic, routing, **options)


class Raced(MemoryTable):
    """A table that another adoption changes right before the first commit."""

    first = staticmethod(lambda: None)

    def commit(self, view, change):
        first, self.first = self.first, lambda: None
        first()
        super().commit(view, change)


def raced_by(log, topic):
    table = Raced()
    table.first = lambda: take_in(table, log, topic)
    return table


def test_two_adoptions_at_once_get_an_id_each(log):
    table = raced_by(log, THERE)
    adopted = take_in(table, log, HERE)
    assert (adopted.stream.stream_id, adopted.stream.topic) == (2, HERE)
    assert {number: stream.topic for number, stream in table.load().streams.items()} == {1: THERE, 2: HERE}


def test_an_adoption_that_finds_its_topic_taken_in_by_another_registers_it_once(log):
    table = raced_by(log, HERE)
    adopted = take_in(table, log, HERE)
    assert adopted.stream == table.load().streams[1]
    assert set(table.load().streams) == {1}


def test_a_first_adoption_yields_to_another_one(log):
    table = raced_by(log, THERE)
    assert take_in(table, log, HERE, only_if_empty=True) is None
    assert table.load().streams[1].topic == THERE


@pytest.mark.parametrize("answer", [Answer.CONFLICT_BUT_LANDED, Answer.UNKNOWN_BUT_LANDED, Answer.UNKNOWN])
def test_an_adoption_without_a_clear_answer_registers_once(log, answer):
    table = MemoryTable(answer=answer)
    adopted = take_in(table, log, HERE)
    assert (adopted.stream.stream_id, adopted.revision) == (1, 1)
    assert table.load().revision == 1
    assert len(table.load().snapshots) == 1
    assert len(table.load().checkpoints) == 2


def test_a_first_adoption_marks_what_the_table_held_before(log):
    table = MemoryTable()
    table.foreign_append()
    foreign = table.head
    take_in(table, log, HERE)
    view = table.load()
    assert view.foreign(view.head_id).first == (foreign,)
    assert view.rolled_back() is None


@pytest.mark.parametrize("answer", [Answer.OK, Answer.CONFLICT_BUT_LANDED, Answer.UNKNOWN_BUT_LANDED])
def test_adopting_the_head_takes_foreign_changes_as_they_are_and_moves_nothing(log, answer):
    table = MemoryTable()
    take_in(table, log, HERE)
    table.foreign_append()
    take_in(table, log, THERE)
    table.foreign_append()
    before = table.load()
    assert before.head_id is not None
    assert before.foreign(before.head_id).count == 2
    table.answer = answer
    assert adopt_at_snapshot(table, before.head_id) == before.revision + 1
    after = table.load()
    assert not after.foreign(after.head_id)
    assert (after.foreign_text, after.rolled_back()) == ("", None)
    assert (after.checkpoints, after.streams) == (before.checkpoints, before.streams)
    assert len(after.snapshots) == len(before.snapshots) + 1


def test_a_change_that_comes_after_the_named_head_is_not_adopted_with_it(log):
    table = MemoryTable()
    take_in(table, log, HERE)
    table.foreign_append()
    seen = table.head
    assert seen is not None
    table.foreign_append()
    with pytest.raises(Stopped, match=f"snapshot was {seen}, must be the head {table.head}"):
        adopt_at_snapshot(table, seen)
    assert table.load().foreign(table.head).count == 2
