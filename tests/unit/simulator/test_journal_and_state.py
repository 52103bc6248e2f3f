"""The two files: what is appended and what is replaced."""

import json

import pytest

from seamark.simulator.errors import JournalError, StateError
from seamark.simulator.journal import Journal
from seamark.simulator.state import MarketState, StateFile

STATE = MarketState("generator seed=1", {"position": 7, "carry": [[1, 2, 3, 0.5]]}, 99_000, 1_024)


def test_a_new_run_numbers_connections_after_the_last_of_the_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    assert journal.last_connection == 0
    for number in (1, 2, 3):
        journal.connection_event(number, "open", 5, remote="127.0.0.1")
    journal.frame(1, 1, '"kind":"trade"')
    journal.connection_event(2, "closed", 6)
    journal.close()
    assert Journal(path).last_connection == 3


def test_a_line_torn_by_a_kill_is_taken_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    whole = '{"conn":4,"event":"open"}\n{"conn":4,"seq":1}\n'
    path.write_text(whole + '{"conn":5,"event":"op')
    journal = Journal(path)
    assert journal.last_connection == 4
    journal.frame(4, 2, '"kind":"trade"')
    journal.close()
    assert path.read_text() == whole + '{"conn":4,"seq":2,"kind":"trade"}\n'


def test_a_flushed_line_is_in_the_file_while_it_is_open(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.frame(1, 1, '"kind":"trade"')
    journal.flush()
    assert json.loads((tmp_path / "journal.jsonl").read_text()) == {"conn": 1, "seq": 1, "kind": "trade"}


def test_a_journal_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(JournalError, match=str(tmp_path)):
        Journal(tmp_path)


def test_the_state_comes_back_as_it_was_saved(tmp_path):
    file = StateFile(tmp_path / "deep" / "state.json")
    assert file.load("generator seed=1") is None
    file.save(STATE)
    assert file.load("generator seed=1") == STATE
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


def test_a_state_of_another_market_is_refused(tmp_path):
    file = StateFile(tmp_path / "state.json")
    file.save(STATE)
    with pytest.raises(StateError, match="generator seed=1.*generator seed=2"):
        file.load("generator seed=2")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"source":"generator seed=1"}'])
def test_a_damaged_state_is_refused(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(StateError, match=r"state\.json cannot be read"):
        StateFile(tmp_path / "state.json").load("generator seed=1")
