"""First occurrence holds over the chain of streams, also where the old log is gone or was cut."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seamark_oracle import Unproven
from seamark_oracle.columns import Inserter
from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import LogRecord, Topic
from seamark_oracle.expectation import Accepted, Past, derive
from seamark_oracle.extents import survey
from seamark_oracle.registry import Checkpoint, Registry, Stream, read_registry
from seamark_oracle.store import create_expected, expected_fields, open_database
from unit.oracle.world import START_US, World, build, failed, frame, record_of, sent_trade, trade

_COUNTERS = dict.fromkeys(("written", "duplicate", "dlq", "shed", "lost"), 0)
_KEY = ("binance", "spot", "trade", "BTCUSDT")


@dataclass
class TwoTopics:
    """An old topic of one partition and its successor of two."""

    records: dict[tuple[str, int], list[LogRecord]]
    old_is_gone: bool = False

    def cluster_id(self) -> str:
        return "c"

    def topic(self, name: str) -> Topic | None:
        if name.endswith("old") and self.old_is_gone:
            return None
        parts = {partition: records for (topic, partition), records in self.records.items() if topic == name}
        return Topic(name, {partition: (0, len(records)) for partition, records in parts.items()})

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        return iter(self.records[topic, partition][first:end] if first < end else [])


def log_of(*numbers_and_times: tuple[int, int]) -> list[LogRecord]:
    return [
        LogRecord(offset, 1, frame("trades", trade(number=number, time_us=START_US + time)))
        for offset, (number, time) in enumerate(numbers_and_times)
    ]


@pytest.mark.parametrize("old_is_gone", [False, True])
def test_a_successor_knows_what_the_old_stream_accepted(tmp_path: Path, old_is_gone: bool) -> None:
    log = TwoTopics(
        {
            ("m.c.old", 0): log_of((1, 10), (2, 20), (1, 30)),
            ("m.c.new", 0): [],
            ("m.c.new", 1): log_of((2, 20), (3, 40), (1, 30), (1, 10), (1, 50)),
        },
        old_is_gone,
    )
    registry = Registry(
        {
            1: Stream(1, "c", "m.c.old", "m.c.old", (0,), None),
            2: Stream(2, "c", "m.c.new", "m.c.new", (0, 0), 1),
        },
        {
            (1, 0): Checkpoint(3, 0, _COUNTERS),
            (2, 0): Checkpoint(0, 0, _COUNTERS),
            (2, 1): Checkpoint(5, 0, _COUNTERS),
        },
        {},
    )

    def past(where: tuple[int, int], offsets: range) -> Past:
        assert (where, offsets, old_is_gone) == ((1, 0), range(3), True)
        rows = [(1, 10, 0), (2, 20, 0), (1, 30, 1)]
        return Past(1000, [Accepted(_KEY, number, START_US + time, epoch) for number, time, epoch in rows])

    extents = survey(log, registry).extents
    with open_database(tmp_path) as database:
        create_expected(database, "trades")
        with Inserter(database, "expected_trades", expected_fields("trades")) as expected:
            derived = derive("trades", log, registry, extents, past, expected)
        new = database.execute(
            "SELECT fate, id_epoch FROM expected_trades WHERE stream_id = 2 ORDER BY kafka_offset"
        ).fetchall()
    assert new == [("duplicate", None), ("row", 1), ("duplicate", None), ("duplicate", None), ("row", 2)]
    assert [each.records_absent for each in derived] == [0, 0, 0]
    assert extents[0].proven == (range(3, 3) if old_is_gone else range(3))


# A log that was cut: stream 2 reads it again, and other records stand where some of stream 1's stood.

_LOST = 12
"""Records that the log of partition 0 loses."""


@pytest.fixture
def cut(tmp_path: Path) -> World:
    world = build(tmp_path, seed=1)
    _cut(world)
    return world


def _cut(world: World) -> None:
    old = world.parts["trades"][0]
    end = old.end - _LOST
    gone = [row for row in world.rows["trades"] if row["kafka_partition"] == 0 and row["kafka_offset"] >= end]
    assert gone
    world.truncate("trades", 0, end)
    now = START_US + 10**8
    for number in range(300, 300 + _LOST + 5):  # it grows past where it ended
        record = trade(number=number, time_us=now + number)
        world.row("trades", 0, record, now, epoch=1)
        world.journal.append(sent_trade(record))
    for row in gone:  # sent again by who was not acknowledged
        world.put("trades", 0, frame("trades", record_of(row)), "duplicate", now)


def _rows(world: World, stream_id: int, partition: int = 0) -> list[dict[str, Any]]:
    return [
        row
        for row in world.rows["trades"]
        if (row["stream_id"], row["kafka_partition"]) == (stream_id, partition)
    ]


def test_what_a_truncated_log_was_is_unproven_and_its_successor_is_proven(cut: World) -> None:
    verdict = cut.judge()
    assert verdict.exact, verdict.to_text()
    ends = [part.end for part in cut.closed["trades"][0]]
    reason = "the log was truncated: stream 2 reads it again from 7 on"
    assert verdict.unproven == tuple(Unproven("trades", 1, n, 7, end, reason) for n, end in enumerate(ends))
    figures = verdict.figures("trades")
    assert figures.unproven == sum(ends) - 14
    assert figures.in_kafka == sum(len(part.records) for part in cut.parts["trades"])
    assert figures.decimals == 2 * (_LOST + 5), "rows of stream 1 were compared with the log"
    text = verdict.to_text()
    assert f"UNPROVEN  trades: stream 1, partition 0, [7, {ends[0]}): {reason}" in text
    assert f"but for {figures.unproven:,} offsets whose records the log no longer has" in text


def test_a_truncation_of_a_log_that_had_lost_its_beginning_has_both_reasons(tmp_path: Path) -> None:
    world = build(tmp_path, seed=2)
    world.log_start["trades"] = 20
    _cut(world)
    world.log_start["trades"] = 30
    verdict = world.judge()
    assert verdict.exact, verdict.to_text()
    end = world.closed["trades"][0][0].end
    assert [each for each in verdict.unproven if each.partition == 0] == [
        Unproven("trades", 1, 0, 7, 30, "the log begins at 30"),
        Unproven("trades", 1, 0, 30, end, "the log was truncated: stream 2 reads it again from 20 on"),
        Unproven("trades", 2, 0, 20, 30, "the log begins at 30"),
    ]


def test_what_is_read_again_without_first_occurrence_is_a_row_again(tmp_path: Path) -> None:
    world = build(tmp_path, seed=1)
    world.truncate("feed_events", 0, 9)
    verdict = world.judge()
    assert verdict.exact, verdict.to_text()
    assert verdict.figures("feed_events").in_iceberg == 5 + 2
    world.rows["feed_events"].pop()
    assert ("feed_events", "no row is missing") in failed(world)


def test_where_the_successor_begins_later_the_old_streams_rest_is_still_proven(cut: World) -> None:
    for part in cut.parts["trades"]:
        part.start = 40
    verdict = cut.judge()
    assert verdict.exact, verdict.to_text()
    assert {each.first for each in verdict.unproven} == {40}
    below = next(row for row in _rows(cut, 1) if row["kafka_offset"] < 40)
    above = next(row for row in _rows(cut, 1) if row["kafka_offset"] > 40)
    above["currency"] = "EUR"
    assert not failed(cut), "of this nothing can be known"
    below["currency"] = "EUR"
    assert set(failed(cut)) == {("trades", "all other columns equal the log's")}
    cut.rows["trades"].remove(below)
    assert ("trades", "no row is missing") in failed(cut)


def new_price(world: World) -> None:
    _rows(world, 2)[3]["price"] += Decimal("0.0000000001")


def new_row_gone(world: World) -> None:
    world.rows["trades"].remove(_rows(world, 2)[3])


def new_row_in_old_place(world: World) -> None:
    _rows(world, 2)[0]["stream_id"] = 1


def id_in_both(world: World) -> None:
    """The repeat of a trade whose record was cut away has become a row."""
    part, old = world.parts["trades"][0], _rows(world, 1)[-1]
    new = {
        "stream_id": 2,
        "kafka_offset": part.end - 1,
        "kafka_timestamp": _rows(world, 2)[-1]["kafka_timestamp"],
    }
    assert part.fates[-1] == "duplicate"
    part.fates[-1] = "written"
    world.rows["trades"].append(old | new)


def id_in_both_read_again(world: World) -> None:
    """A trade whose record was kept has become a row once more."""
    old = _rows(world, 1, partition=1)[5]
    part = world.parts["trades"][1]
    part.fates[old["kafka_offset"] - 7] = "written"
    world.rows["trades"].append(old | {"stream_id": 2})


def old_row_gone(world: World) -> None:
    """Its record is still there: whoever judges stream 2 by the table finds it not known."""
    world.rows["trades"].remove(_rows(world, 1)[5])


def old_row_gone_with_its_record(world: World) -> None:
    row = _rows(world, 1)[-1]
    world.rows["trades"].remove(row)
    part = world.parts["trades"][0]
    part.records.pop()  # nor is its repeat there
    part.fates.pop()


DEFECTS: list[tuple[Callable[[World], None], str]] = [
    (new_price, "decimals equal the log's"),
    (new_row_gone, "no row is missing"),
    (new_row_in_old_place, "no offset is there twice"),
    (new_row_in_old_place, "the checkpoint equals the oracle's own"),
    (id_in_both, "every id is there once"),
    (id_in_both, "no row that must not be"),
    (id_in_both_read_again, "every id is there once"),
    (id_in_both_read_again, "no row that must not be"),
    (old_row_gone, "no row is missing"),
    (old_row_gone, "the checkpoint equals the oracle's own"),
    (old_row_gone_with_its_record, "the checkpoint equals the oracle's own"),
]


@pytest.mark.parametrize(("defect", "check"), DEFECTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_defect_behind_a_truncation_is_reported(
    cut: World, defect: Callable[[World], None], check: str
) -> None:
    defect(cut)
    assert ("trades", check) in failed(cut), failed(cut)


# Where one stream ends and the next begins


@dataclass(frozen=True)
class Bounds:
    """A log of which only the bounds matter."""

    topics: dict[str, Topic]

    def cluster_id(self) -> str:
        return "c"

    def topic(self, name: str) -> Topic | None:
        return self.topics.get(name)

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        raise AssertionError("the bounds suffice")


_OTHER = Stream(2, "c", "m.c.new", "new", (0,), 1)
_REROUTED = Stream(2, "c", "m.c.old", "old", (50, 0), 1)


@pytest.mark.parametrize(
    ("successor", "reached", "ranges", "excluded", "left_out"),
    [
        (None, 30, {0: (10, 50)}, (), []),
        (None, 30, {0: (40, 50)}, (), [range(30, 40)]),
        (None, 30, {0: (40, 50)}, (range(30, 40),), []),
        (None, 30, {0: (5, 50)}, (), [range(5, 10)]),
        (None, 30, {0: (10, 50), 1: (3, 8)}, (), [range(3, 8)]),
        (_REROUTED, 50, {0: (10, 90), 1: (0, 9)}, (), []),
        (_REROUTED, 45, {0: (10, 90), 1: (0, 9)}, (), [range(45, 50)]),
        (_REROUTED, 45, {0: (10, 90), 1: (0, 9)}, (range(45, 48),), [range(48, 50)]),
        (_REROUTED, 45, {0: (10, 90), 1: (0, 9)}, (range(45, 50),), []),
        (_OTHER, 30, {0: (10, 50)}, (), [range(30, 50)]),
        (_OTHER, 30, {0: (10, 50)}, (range(30, 2**60),), []),
        (_OTHER, 30, None, (), []),
    ],
)
def test_offsets_that_no_stream_takes_in_are_left_out(
    successor: Stream | None,
    reached: int,
    ranges: dict[int, tuple[int, int]] | None,
    excluded: tuple[range, ...],
    left_out: list[range],
) -> None:
    old = Stream(1, "c", "m.c.old", "old", (10,), None)
    streams = {stream.stream_id: stream for stream in (old, successor) if stream}
    registry = Registry(streams, {(1, 0): Checkpoint(reached, 0, _COUNTERS)}, {(1, 0): excluded})
    log = Bounds({"m.c.old": Topic("old", ranges)} if ranges else {})
    ground = survey(log, registry)
    assert [offsets for _, offsets in ground.left_out] == left_out
    first = ground.extents[0]
    assert len(first.proven) + sum(len(gone.offsets) for gone in first.unproven) == reached - 10
    # What another stream does not read again stays proven.
    assert first.proven == (range(10, reached) if ranges and ranges[0][0] <= 10 else range(reached, reached))


def test_a_lost_range_whose_end_nobody_knows_has_none() -> None:
    registry = read_registry({"seamark.excluded": '[[1,0,50,-1,"LOST",2]]'})
    assert registry.not_excluded((1, 0), range(40, 10**12)) == [range(40, 50)]


def test_beside_another_cluster_nothing_can_be_judged() -> None:
    stream = Stream(1, "another", "m.c.old", "old", (10,), None)
    with pytest.raises(OracleError, match="of cluster another, the log given of c"):
        survey(Bounds({}), Registry({1: stream}, {}, {}))
    closed = Registry({1: stream, 2: Stream(2, "c", "m.c.old", "new", (0,), 1)}, {}, {})
    assert len(survey(Bounds({}), closed).extents) == 2
