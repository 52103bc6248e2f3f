"""First occurrence holds over the chain of streams, also when the old log is gone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seamark_oracle.columns import Inserter
from seamark_oracle.evidence import LogRecord, Topic
from seamark_oracle.expectation import Accepted, Past, derive
from seamark_oracle.registry import Checkpoint, Registry, Stream
from seamark_oracle.store import create_expected, expected_fields, open_database
from unit.oracle.world import START_US, frame, trade

_COUNTERS = dict.fromkeys(("written", "duplicate", "dlq", "shed", "lost"), 0)
_KEY = ("binance", "spot", "trade", "BTCUSDT")


@dataclass
class TwoTopics:
    """An old topic of one partition and its successor of two."""

    records: dict[tuple[str, int], list[LogRecord]]
    old_is_gone: bool = False

    def topic(self, name: str) -> Topic | None:
        if name.endswith("old") and self.old_is_gone:
            return None
        parts = {partition: records for (topic, partition), records in self.records.items() if topic == name}
        return Topic(name, {partition: (0, len(records)) for partition, records in parts.items()})

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        return iter(self.records[topic, partition][first:end])


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
            1: Stream(1, "m.c.old", "m.c.old", (0,), None),
            2: Stream(2, "m.c.new", "m.c.new", (0, 0), 1),
        },
        {
            (1, 0): Checkpoint(3, 0, _COUNTERS),
            (2, 0): Checkpoint(0, 0, _COUNTERS),
            (2, 1): Checkpoint(5, 0, _COUNTERS),
        },
        {},
    )

    def past(stream_id: int, partition: int, below_offset: int) -> Past:
        assert (stream_id, partition, below_offset, old_is_gone) == (1, 0, 3, True)
        rows = [(1, 10, 0), (2, 20, 0), (1, 30, 1)]
        return Past(1000, [Accepted(_KEY, number, START_US + time, epoch) for number, time, epoch in rows])

    with open_database(tmp_path) as database:
        create_expected(database, "trades")
        with Inserter(database, "expected_trades", expected_fields("trades")) as expected:
            bounds = derive("trades", log, registry, past, expected)
        new = database.execute(
            "SELECT fate, id_epoch FROM expected_trades WHERE stream_id = 2 ORDER BY kafka_offset"
        ).fetchall()
    assert new == [("duplicate", None), ("row", 1), ("duplicate", None), ("duplicate", None), ("row", 2)]
    assert [each.records_absent for each in bounds] == [0, 0, 0]
    assert bounds[0].proven_from == (3 if old_is_gone else 0)
