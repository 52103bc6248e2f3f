"""A read is a scan of everything and the question held against each row; only faster."""

from __future__ import annotations

import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pyiceberg.manifest import DataFileContent

from seamark.lake import datafiles
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CatalogUnavailable
from seamark.market.predicate import Clock, Comparison, Filter, Predicate, filter_of
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct import DirectReader, DirectReadRefused
from seamark.query_gateway.direct import reader as reader_module
from seamark.query_gateway.sources import SnapshotGone, Window
from unit.query_gateway.direct.tables import NOON, NOON_US, FolderTable, foreign_file, in_order, rows, seconds

TRADES = RecordKind.TRADES
ALL = tuple(row_schema(TRADES).names)
SECOND_US = 1_000_000

LONG = "A" * 16
"""As long as what Iceberg keeps of a text in its bounds."""
SYMBOLS = st.sampled_from(
    ["A", "AB", "B", "BTCUSDT", LONG, LONG + "A", LONG + "Z", "Ａ币", "币安人生USDT", "😀"]
)
SECONDS = st.sampled_from([0, 1800, 3599, 3600, 7200, 10800])
"""Few instants, so that rows, bounds and questions meet."""
PRICES = st.sampled_from(["1", "0.0000000001", "999999999999999999.9999999999", "-2.5"])


def reader(cache_bytes: int = 1 << 24) -> DirectReader:
    return DirectReader(cache_bytes, threads=3)


@st.composite
def histories(draw) -> list[tuple[str, list[dict]]]:
    """Commits: (who writes, rows). Offsets go on through all of them, in no order within one."""
    next_offset = {(stream, partition): 0 for stream in (1, 2) for partition in (0, 1)}
    history = []
    for _ in range(draw(st.integers(1, 4))):
        writer = draw(st.sampled_from(["own", "own", "foreign", "without statistics"]))
        records = []
        hour = draw(st.integers(0, 3)) * 3600
        for _ in range(draw(st.integers(1, 14))):
            where = draw(st.sampled_from(sorted(next_offset)))
            at = draw(SECONDS) if writer == "own" else hour + draw(SECONDS) % 3600
            records.append(
                {
                    "stream_id": where[0],
                    "kafka_partition": where[1],
                    "kafka_offset": next_offset[where],
                    "symbol": draw(SYMBOLS),
                    "timestamp": seconds(at),
                    "ingestion_timestamp": seconds(draw(SECONDS)),
                    "kafka_timestamp": seconds(draw(SECONDS)),
                    "source_sequence": draw(st.none() | st.integers(0, 9)),
                    "price": Decimal(draw(PRICES)),
                    "native_id": draw(st.none() | st.sampled_from(["", "x"])),
                    "trade_conditions": draw(st.none() | st.lists(st.sampled_from(["a", ""]), max_size=2)),
                }
            )
            next_offset[where] += draw(st.integers(1, 3))
        history.append((writer, records))
    return history


@st.composite
def filters(draw) -> Filter:
    column, texts = draw(
        st.sampled_from(
            [
                ("symbol", ["A", "AB", LONG, LONG + "B", "😀"]),
                ("source_sequence", ["0", "4", "9"]),
                ("price", ["1", "-2.5", "999999999999999999.9999999999"]),
                ("native_id", ["", "x"]),
                ("kafka_offset", ["0", "3", "8"]),
                ("timestamp", [str(NOON_US), str(NOON_US + 3600 * SECOND_US)]),
            ]
        )
    )
    comparison = draw(st.sampled_from(Comparison))
    count = draw(st.integers(1, 3)) if comparison is Comparison.IN else 1
    values = draw(st.lists(st.sampled_from(texts), min_size=count, max_size=count))
    return filter_of(TRADES, column, comparison, tuple(values))


@st.composite
def spans(draw) -> tuple[int | None, int | None]:
    first, last = sorted(draw(st.tuples(SECONDS, SECONDS)))
    starts, ends = draw(st.booleans()), draw(st.booleans())
    return (
        NOON_US + first * SECOND_US if starts else None,
        NOON_US + max(last, first + 1) * SECOND_US if ends else None,
    )


@st.composite
def predicates(draw) -> Predicate:
    from_us, to_us = draw(spans())
    return Predicate(
        symbols=tuple(draw(st.lists(SYMBOLS, max_size=3, unique=True))),
        clock=draw(st.sampled_from(Clock)),
        from_us=from_us,
        to_us=to_us,
        filters=tuple(draw(st.just([]) | st.lists(filters(), max_size=2))),
        known_at_us=draw(st.none() | st.none() | SECONDS.map(lambda at: NOON_US + at * SECOND_US)),
    )


def vectors():
    where = st.builds(StreamPartition, st.sampled_from([1, 2]), st.sampled_from([0, 1]))
    return st.none() | st.dictionaries(where, st.integers(0, 30), max_size=4)


COLUMNS = st.lists(st.sampled_from(ALL), min_size=1, unique=True)


@settings(max_examples=60, deadline=None)
@given(histories(), predicates(), spans(), vectors(), COLUMNS, st.booleans(), st.booleans())
def test_a_read_is_a_full_scan_and_the_question(history, predicate, span, below, asked, coarse, cached):
    folder = Path(tempfile.mkdtemp())
    direct = reader(1 << 24 if cached else 0)
    patch = pytest.MonkeyPatch()
    patch.setattr(datafiles, "ROW_GROUP_ROWS", 3)
    patch.setattr(datafiles, "_FEW_ROWS", 2)
    if coarse:
        patch.setattr("seamark.query_gateway.direct.reader._MOST_FOOTERS", 0)
    try:
        table = FolderTable(folder, TRADES)
        everything = []
        for writer, records in history:
            data = rows(TRADES, *records)
            everything.append(data)
            if writer == "own":
                table.append(data)
            else:
                table.append_foreign(data, row_group_size=4, write_statistics=writer == "foreign")
        columns = tuple(dict.fromkeys([*asked, "stream_id", "kafka_partition", "kafka_offset"]))
        plan = direct.plan(table.pin(), predicate, columns)
        window = Window(*span)
        found = [*direct.read(plan, window, below, threading.Event())]
        expected = naive(pa.concat_tables(everything), predicate, window, below).select(columns)
        assert all(one.columns == list(columns) for one in found)
        assert_frame_equal(in_order([*found, expected.clear()]), in_order([expected]))
        assert plan.estimate.rows >= sum(len(one) for one in found)
    finally:
        direct.close()
        patch.undo()
        shutil.rmtree(folder)


def naive(data: pa.Table, predicate: Predicate, window: Window, below) -> pl.DataFrame:
    """Every row held against everything: the question by its own expression, the rest in plain Python."""
    frame = pl.DataFrame(data)
    expression = predicate.expression()
    if expression is not None:
        frame = frame.filter(expression)

    def lies(stream_id: int, partition: int, offset: int, timestamp: datetime) -> bool:
        at_us = (timestamp - NOON) // timedelta(microseconds=1) + NOON_US
        return (
            (window.from_us is None or at_us >= window.from_us)
            and (window.to_us is None or at_us < window.to_us)
            and (below is None or offset < below.get(StreamPartition(stream_id, partition), 0))
        )

    places = frame.select("stream_id", "kafka_partition", "kafka_offset", "timestamp").rows()
    return frame.filter(pl.Series([lies(*place) for place in places], dtype=pl.Boolean))


@pytest.fixture
def direct():
    made = reader()
    yield made
    made.close()


def found(direct, table, predicate=Predicate(), columns=ALL, window=Window(), below=None) -> pl.DataFrame:
    """Rows in the order of the log."""
    plan = direct.plan(table.pin(), predicate, columns)
    frames = [*direct.read(plan, window, below, threading.Event())]
    return in_order([pl.DataFrame(row_schema(table.kind).empty_table()).select(columns), *frames])


def offsets(direct, table, predicate=Predicate(), **more) -> list[int]:
    return found(direct, table, predicate, **more)["kafka_offset"].to_list()


def test_a_table_without_a_snapshot_has_no_rows(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    plan = direct.plan(table.pin(), Predicate(symbols=("A",)), ALL)
    assert (plan.estimate.rows, plan.estimate.files, plan.newest_us) == (0, 0, None)
    assert plan.windows(10) == [Window()]
    assert [*direct.read(plan, Window(), None, threading.Event())] == []


@pytest.mark.parametrize("kind", RecordKind)
def test_rows_of_every_kind_come_back_as_they_were(tmp_path, direct, kind):
    table = FolderTable(tmp_path, kind)
    acked = [{"topic_id": "kT8", "partition": 1, "next_offset": 2**40}]
    extra = {"acked": acked} if kind is RecordKind.FEED_EVENTS else {}
    data = rows(kind, {}, extra, {"vendor_data": "x"} if "vendor_data" in row_schema(kind).names else {})
    table.append(data)
    names = tuple(row_schema(kind).names)
    assert_frame_equal(found(direct, table, columns=names), in_order([pl.DataFrame(data)]))


def test_decimals_are_exact_at_their_extremes(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    greatest = Decimal("999999999999999999.9999999999")
    prices = [greatest, -greatest, Decimal("0.0000000001"), Decimal(0)]
    table.append(rows(TRADES, *({"price": price} for price in prices)))
    assert found(direct, table)["price"].to_list() == prices


def test_only_files_and_row_groups_that_may_match_are_planned(tmp_path, direct, monkeypatch):
    monkeypatch.setattr(datafiles, "_FEW_ROWS", 1)
    table = FolderTable(tmp_path, TRADES)
    for hour in range(3):
        table.append(rows(TRADES, *({"symbol": s, "timestamp": seconds(hour * 3600)} for s in "AABBCC")))
    pin = table.pin()

    def planned(predicate):
        estimate = direct.plan(pin, predicate, ALL).estimate
        return estimate.files, estimate.rows

    assert planned(Predicate()) == (3, 18)
    assert planned(Predicate(symbols=("B",))) == (3, 6)
    assert planned(Predicate(symbols=("A", "C"), from_us=NOON_US + SECOND_US)) == (2, 8)
    assert planned(Predicate(symbols=("AB",))) == (0, 0)
    assert planned(Predicate(to_us=NOON_US + SECOND_US, symbols=("B",))) == (1, 2)
    assert planned(Predicate(filters=(filter_of(TRADES, "kafka_offset", Comparison.GT, ("99",)),))) == (0, 0)


def test_bytes_of_an_estimate_are_those_of_the_columns_asked_for(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    (file,) = table.append(rows(TRADES, *({"source_sequence": n} for n in range(50))))
    ids = {field.name: field.field_id for field in table.pin().view.handle.schema().fields}
    estimate = direct.plan(table.pin(), Predicate(symbols=("BTCUSDT",)), ("price",)).estimate
    assert estimate.bytes == file.column_sizes[ids["price"]] + file.column_sizes[ids["symbol"]]


def test_a_column_keeps_its_rows_through_a_rename(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    foreign = rows(TRADES, {"price": Decimal("7.25")})
    renamed = table.pin().view.handle.schema().find_field("price").field_id
    file = foreign_file(table.pin().view.handle, foreign, renamed={"price": "px"})
    table.commit([file])
    assert renamed in file.column_sizes
    assert found(direct, table)["price"].to_list() == [Decimal("7.25")]


def test_an_optional_column_that_a_file_lacks_is_null(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append_foreign(rows(TRADES, {"vendor_data": "x"}).drop_columns(["vendor_data", "source_sequence"]))
    assert found(direct, table, columns=ALL).select("vendor_data", "source_sequence").rows() == [(None, None)]
    assert offsets(
        direct, table, columns=("kafka_offset", "vendor_data", "stream_id", "kafka_partition")
    ) == [0]
    assert (
        offsets(
            direct, table, Predicate(filters=(filter_of(TRADES, "source_sequence", Comparison.GE, ("0",)),))
        )
        == []
    )


def test_a_required_column_that_a_file_lacks_is_refused_by_name(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append_foreign(rows(TRADES, {}).drop_columns(["price"]))
    with pytest.raises(DirectReadRefused, match="price"):
        found(direct, table)
    assert offsets(direct, table, columns=("stream_id", "kafka_partition", "kafka_offset")) == [0]


def test_delete_files_are_refused(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    (file,) = table.append(rows(TRADES, {}))
    deletes = foreign_file(
        table.pin().view.handle, rows(TRADES, {}), content=DataFileContent.POSITION_DELETES
    )
    table.commit([deletes])
    with pytest.raises(DirectReadRefused, match="delete files"):
        direct.plan(table.pin(), Predicate(), ALL)


def test_a_manifest_is_read_once_whatever_is_committed_later(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {}))
    assert offsets(direct, table) == [0]
    for manifest in tmp_path.rglob("*-m0.avro"):
        manifest.unlink()
    table.append(rows(TRADES, {"kafka_offset": 1}))
    assert offsets(direct, table) == [0, 1]


def test_what_is_warm_is_answered_without_the_store(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    for at in range(3):
        table.append(rows(TRADES, {"kafka_offset": at}))
    pin = table.pin()
    direct.warm(pin)
    shutil.rmtree(tmp_path)
    plan = direct.plan(pin, Predicate(), ALL)
    assert sum(len(frame) for frame in direct.read(plan, Window(), None, threading.Event())) == 3


def blank(folder: Path) -> None:
    """Make all data files unreadable, those too that somebody holds open."""
    for file in folder.rglob("*.parquet"):
        with file.open("r+b") as opened:
            opened.write(bytes(file.stat().st_size))


def test_decoded_columns_are_kept_for_the_next_question(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {}, {}))
    pin = table.pin()
    plan = direct.plan(pin, Predicate(symbols=("BTCUSDT",)), ("price", "kafka_offset"))
    first = pl.concat(direct.read(plan, Window(), None, threading.Event()))
    blank(tmp_path)
    assert_frame_equal(pl.concat(direct.read(plan, Window(), None, threading.Event())), first)


def test_of_rows_too_many_to_keep_those_of_the_symbol_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "_CELL_BYTES", 1 << 24)  # then nothing is small enough
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, *({"source_sequence": n, "symbol": "ABC"[n % 3]} for n in range(30))))
    pin, columns = table.pin(), ("source_sequence", "price", "kafka_offset")
    direct = reader()

    def ask(symbol: str, columns=columns) -> list[int]:
        plan = direct.plan(pin, Predicate(symbols=(symbol,)), columns)
        frames = [*direct.read(plan, Window(), None, threading.Event())]
        assert all(frame.columns == list(columns) for frame in frames)
        return sorted(number for frame in frames for number in frame["source_sequence"])

    assert ask("A") == list(range(0, 30, 3))
    assert ask("B") == list(range(1, 30, 3))
    blank(tmp_path)
    assert ask("A") == list(range(0, 30, 3))
    assert ask("B", columns[:1]) == list(range(1, 30, 3))
    for symbol, asked in (("C", columns), ("A", (*columns, "side"))):
        with pytest.raises(CatalogUnavailable):
            ask(symbol, asked)
    direct.close()


def test_a_symbols_rows_are_found_wherever_they_lie_in_a_row_group(tmp_path):
    table = FolderTable(tmp_path, TRADES)
    sorted_rows = rows(TRADES, *({"source_sequence": n, "symbol": "ABC"[n % 3]} for n in range(30)))
    scattered = sorted_rows.sort_by("source_sequence")
    table.append_foreign(scattered, row_group_size=7, write_statistics=False)
    direct = reader(cache_bytes=0)  # nothing is small enough to be kept as a whole
    for place, symbol in enumerate("ABC"):
        read = found(direct, table, Predicate(symbols=(symbol,)))
        assert sorted(read["source_sequence"]) == list(range(place, 30, 3))
    assert not len(found(direct, table, Predicate(symbols=("AB",))))
    direct.close()


def test_a_column_of_one_value_and_nulls_is_not_taken_for_that_value(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {"source_sequence": 5, "native_id": "x"}, {"source_sequence": None}))
    read = found(direct, table).select("source_sequence", "native_id", "id_epoch")
    assert sorted(read.rows(), key=str) == [(5, "x", 0), (None, None, 0)]


@pytest.mark.parametrize("value", ["922337203.6854775808", "-1", "99999999999999999"])
def test_amounts_of_any_size_may_be_asked_for_in_a_list(tmp_path, direct, value):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {"price": Decimal(5)}, {"price": Decimal(7)}))
    one_of = filter_of(TRADES, "price", Comparison.IN, ("5", value))
    assert len(found(direct, table, Predicate(filters=(one_of,)), ALL)) == 1


def test_columns_asked_for_later_stand_beside_those_that_are_kept(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    changes = [{"source_sequence": n % 7, "symbol": "AB"[n % 2], "price": Decimal(n)} for n in range(20)]
    table.append(rows(TRADES, *changes))
    place = ("stream_id", "kafka_partition", "kafka_offset")
    fresh = reader(cache_bytes=0)
    for columns in ((*place, "price"), ("symbol", *place), (*place, "source_sequence", "price", "side"), ALL):
        predicate = Predicate(symbols=("A",))
        expected = found(fresh, table, predicate, columns)
        assert_frame_equal(found(direct, table, predicate, columns), expected)
        assert len(expected) == 10
    fresh.close()


def test_a_file_that_is_gone_is_a_snapshot_that_is_gone(tmp_path):
    table = FolderTable(tmp_path, TRADES)
    (file,) = table.append(rows(TRADES, {}))
    direct = reader(cache_bytes=0)
    plan = direct.plan(table.pin(), Predicate(), ALL)
    direct = reader(cache_bytes=0)
    Path(file.file_path.removeprefix("file://")).unlink()
    with pytest.raises(SnapshotGone, match=file.file_path):
        [*direct.read(plan, Window(), None, threading.Event())]
    with pytest.raises(SnapshotGone):
        direct.plan(table.pin(), Predicate(), ALL)
    for manifest_list in tmp_path.rglob("snap-*.avro"):
        manifest_list.unlink()
    with pytest.raises(SnapshotGone):
        reader().plan(table.pin(), Predicate(), ALL)


def test_a_snapshot_that_the_table_does_not_know_is_gone(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {}))
    with pytest.raises(SnapshotGone, match="17"):
        direct.plan(replace(table.pin(), snapshot_id=17), Predicate(), ALL)


def test_an_older_snapshot_is_read_as_it_was(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    table.append(rows(TRADES, {}))
    old = table.pin()
    table.append(rows(TRADES, {"kafka_offset": 1}))
    assert offsets(direct, table) == [0, 1]
    plan = direct.plan(replace(table.pin(), snapshot_id=old.snapshot_id), Predicate(), ("kafka_offset",))
    assert [frame.rows() for frame in direct.read(plan, Window(), None, threading.Event())] == [[(0,)]]


@pytest.mark.parametrize("damage", [b"", b"PAR1 no more", b"x" * 5000])
def test_a_file_that_cannot_be_read_is_named(tmp_path, damage):
    table = FolderTable(tmp_path, TRADES)
    (file,) = table.append(rows(TRADES, {}))
    Path(file.file_path.removeprefix("file://")).write_bytes(damage)
    direct = reader()
    with pytest.raises(CatalogUnavailable, match=file.file_path):
        direct.plan(table.pin(), Predicate(), ALL)
    direct.close()


def test_a_cancelled_read_ends_before_its_next_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "_FRAME_ROWS", 1)
    table = FolderTable(tmp_path, TRADES)
    for at in range(8):
        table.append(rows(TRADES, {"kafka_offset": at, "source_sequence": at}))
    direct = reader()
    plan = direct.plan(
        table.pin(), Predicate(filters=(filter_of(TRADES, "source_sequence", Comparison.GE, ("0",)),)), ALL
    )
    cancelled = threading.Event()
    frames = direct.read(plan, Window(), None, cancelled)
    assert len(next(frames)) == 1
    cancelled.set()
    assert [*frames] == []
    direct.close()


def test_many_may_ask_at_the_same_time(tmp_path, direct):
    table = FolderTable(tmp_path, TRADES)
    for at in range(6):
        table.append(rows(TRADES, *({"kafka_offset": at * 2 + n, "symbol": "AB"[n]} for n in (0, 1))))

    def ask(number: int) -> list[int]:
        return offsets(direct, table, Predicate(symbols=("AB"[number % 2],)))

    with ThreadPoolExecutor(8) as clients:
        answers = [*clients.map(ask, range(24))]
    assert answers == [[number % 2 + at * 2 for at in range(6)] for number in range(24)]
