"""Trino and the direct reader give the same rows of a snapshot for the same question."""

from __future__ import annotations

import threading

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from trino import dbapi

from integration.test_direct import ALL, NOON_US, TRADES, LakeTable, plain
from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Comparison, Predicate, filter_of
from seamark.market.schema import row_schema
from seamark.query_gateway.direct import DirectReader
from seamark.query_gateway.sources import Window
from seamark.query_gateway.trino_history import TrinoHistory

ALL_TIME = Window()
WHERE = StreamPartition(1, 1)


def rows_of(history, pin, predicate, window, below):
    plan = history.plan(pin, predicate, ALL)
    frames = [*history.read(plan, window, below, threading.Event())]
    return plain([pl.DataFrame(row_schema(TRADES).empty_table()), *frames])


def where(column, comparison, *values):
    return Predicate(filters=(filter_of(TRADES, column, comparison, values),))


@pytest.mark.parametrize(
    ("predicate", "window", "below"),
    [
        (Predicate(), ALL_TIME, None),
        (Predicate(("币安人生USDT", "x'; DROP TABLE trades; --")), ALL_TIME, None),
        (Predicate(from_us=NOON_US + 100_000_000, to_us=NOON_US + 300_000_000), ALL_TIME, None),
        (Predicate(), Window(NOON_US + 10_000_000, NOON_US + 20_000_000), None),
        (Predicate(), ALL_TIME, {WHERE: 17}),
        (Predicate(), ALL_TIME, {}),
        (Predicate(known_at_us=NOON_US + 50_000_000), ALL_TIME, None),
        (where("price", Comparison.GE, "0.0000000700"), ALL_TIME, None),
        (where("price", Comparison.IN, "0.0000000007", "7"), ALL_TIME, None),
        (where("native_id", Comparison.NE, "a"), ALL_TIME, None),
        (where("timestamp", Comparison.LT, str(NOON_US + 60_000_000)), ALL_TIME, None),
    ],
)
def test_both_engines_give_the_same_rows(trino, lake, predicate, window, below):
    table = LakeTable(lake)
    table.append(200)
    pin = table.pin()
    table.append(100)  # behind the pin: neither may see it
    direct = DirectReader(cache_bytes=1 << 26, threads=2)
    host, port = trino.address
    history = TrinoHistory(host, port, "test", "lake", lake.namespace, direct)
    expected = rows_of(direct, pin, predicate, window, below)
    assert_frame_equal(rows_of(history, pin, predicate, window, below), expected)
    direct.close()


def test_who_leaves_ends_the_query_at_trino(trino, lake):
    table = LakeTable(lake)
    table.append(200)
    direct = DirectReader(cache_bytes=1 << 26, threads=2)
    host, port = trino.address
    history = TrinoHistory(host, port, "leaver", "lake", lake.namespace, direct, longest_seconds=45)
    plan = history.plan(table.pin(), Predicate(), ALL)
    cancelled = threading.Event()
    cancelled.set()
    frames = [*history.read(plan, ALL_TIME, None, cancelled)]
    direct.close()
    assert sum(map(len, frames)) in (0, 200)
    connection = dbapi.connect(host=host, port=port, user="asker")
    cursor = connection.cursor()
    for _ in range(100):
        cursor.execute("SELECT state FROM system.runtime.queries WHERE \"user\" = 'leaver'")
        states = [state for (state,) in cursor.fetchall()]
        if states and set(states) <= {"FAILED", "FINISHED"}:
            break
    connection.close()
    assert states
    assert set(states) <= {"FAILED", "FINISHED"}
