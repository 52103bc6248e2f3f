"""What a run must have been through to prove anything."""

from dataclasses import replace

from seamark.local.milestones import Milestones
from seamark.local.readings import Reading, TableReading

TABLE = TableReading(0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def reading(at_seconds: float, rows: int, buffered: int | None = 5) -> Reading:
    tables = {"trades": replace(TABLE, rows=rows), "quotes": TABLE}
    return Reading(at_seconds, tables, buffered, 0, 0.0, 0, 0, 0)


def test_rows_of_earlier_runs_are_not_news() -> None:
    run = Milestones(began_seconds=100.0, rows_before=7)
    assert run.note(reading(101.0, 7)) == []
    assert run.note(reading(103.0, 8)) == ["first new row can be queried, 3.0 s after the start"]
    assert run.note(reading(104.0, 9)) == []


def test_the_writer_is_killed_once_when_it_has_committed_and_holds_more() -> None:
    run = Milestones(began_seconds=0.0, rows_before=0)
    assert not run.worth_killing(reading(1.0, 0))
    run.note(reading(2.0, 1))
    assert not run.worth_killing(reading(2.0, 1, buffered=0))
    assert not run.worth_killing(reading(2.0, 1, buffered=None))
    assert run.worth_killing(reading(2.0, 1))
    run.killed = reading(3.0, 1)
    assert not run.worth_killing(reading(4.0, 1))


def test_the_writer_is_back_when_there_is_more_than_at_its_death() -> None:
    run = Milestones(began_seconds=0.0, rows_before=0)
    run.note(reading(2.0, 1))
    run.killed, run.rows_gone = reading(3.0, 4), 6_000
    assert run.note(reading(5.0, 4)) == []
    assert run.note(reading(9.5, 5)) == ["the writer commits again, 6.5 s after its death"]
    assert run.summary() == [
        "first new row queryable 2.0 s after the start",
        "writer killed once with about 6,000 rows in memory; new rows committed 6.5 s later",
    ]
    assert run.too_little("leg.log") == []


def test_what_did_not_happen_is_said() -> None:
    run = Milestones(began_seconds=0.0, rows_before=0)
    nothing, unkilled = run.too_little("leg.log")
    assert "nothing new was committed" in nothing
    assert "leg.log" in nothing
    assert "never killed" in unkilled
    run.note(reading(2.0, 1))
    run.killed = reading(3.0, 1)
    [gone] = run.too_little("leg.log")
    assert "committed nothing after it was killed" in gone
