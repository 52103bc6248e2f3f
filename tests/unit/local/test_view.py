"""What people and logs get to see."""

import io
from dataclasses import replace

from rich.console import Console

from seamark.local.readings import Reading, TableReading
from seamark.local.view import View

TRADES = TableReading(
    end=1_000,
    processed=900,
    committed=700,
    rows=690,
    duplicates=10,
    refused=0,
    files=3,
    snapshots=4,
    committed_age_seconds=2.5,
)
READING = Reading(
    at_seconds=100.0,
    tables={"trades": TRADES, "quotes": replace(TRADES, end=900, rows=5_000)},
    buffered_rows=200,
    commits=2,
    commit_seconds=0.25,
    frames_received=1_900,
    frames_refused=1,
    connections_opened=1,
)


def shown(terminal: bool, *readings: Reading) -> str:
    out = io.StringIO()
    with View(Console(file=out, force_terminal=terminal, width=120, highlight=False)) as view:
        for reading in readings:
            view.show(reading, "running")
    return out.getvalue()


def later(seconds: float, more_trades: int) -> Reading:
    trades = replace(TRADES, end=TRADES.end + more_trades)
    return replace(
        READING, at_seconds=READING.at_seconds + seconds, tables=dict(READING.tables) | {"trades": trades}
    )


def test_plain_lines_where_nobody_watches() -> None:
    lines = shown(False, READING, later(1, 100), later(5, 500)).splitlines()
    assert len(lines) == 2  # one in five seconds
    assert "in Kafka 1,900, lag 100, rows committed 5,690, duplicates 20, refused 1, files 6" in lines[0]
    assert "age 2.5 s" in lines[0]
    assert "running: 100 records/s" in lines[1]
    assert "\x1b" not in "".join(lines)


def test_one_live_table_in_a_terminal() -> None:
    text = shown(True, READING, later(2, 500))
    for part in (
        "trades",
        "quotes",
        "250",
        "1,500",
        "200 rows buffered",
        "2 commits, 0.25 s each",
        "1 refused",
    ):
        assert part in text


def test_a_writer_that_is_down_is_shown_so() -> None:
    assert "writer: does not run" in shown(True, replace(READING, buffered_rows=None))


def test_drained_means_decoded_not_committed() -> None:
    assert not READING.drained
    done = {name: replace(table, processed=table.end) for name, table in READING.tables.items()}
    assert replace(READING, tables=done).drained
