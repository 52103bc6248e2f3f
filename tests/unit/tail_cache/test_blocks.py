"""Blocks: what they say of their rows, how they grow together, and that disk is as good as memory."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from seamark.startup import StartRefused
from seamark.tail_cache import blocks
from seamark.tail_cache.blocks import FULL_ROWS, Block, SymbolIndex, appended, resident
from seamark.tail_cache.spill import Spilled, SpillFolder
from unit.tail_cache.observed import RECORDS, SYMBOLS, between, observed

MUCH = 1 << 30
NAMES = ["kafka_offset", "symbol", "price", "trade_conditions", "vendor_data", "timestamp"]


@pytest.fixture(params=["resident", "spilled"])
def block(request, tmp_path):
    whole = resident(0, RECORDS, observed())
    if request.param == "resident":
        return whole
    spilled = SpillFolder(tmp_path / "spill", MUCH).spill(whole)
    assert isinstance(spilled.rows, Spilled)
    assert spilled.rows.memory_bytes == 0 < spilled.rows.file_bytes
    return spilled


def test_a_slice_is_the_rows_between_two_positions(block):
    assert_frame_equal(block.rows.slice(NAMES, 17, 1234), observed()[NAMES][17:1234], categorical_as_str=True)


def test_rows_can_be_taken_from_anywhere(block):
    positions = np.array([3, 4, 4, 900, block.rows.count - 1])
    assert_frame_equal(
        block.rows.take(NAMES, positions), observed()[NAMES][positions], categorical_as_str=True
    )


def test_a_position_counts_the_rows_below_an_offset(block):
    offsets = observed()["kafka_offset"]
    for offset in (-5, 0, 1, 2, 777, RECORDS - 1, RECORDS, RECORDS + 9):
        assert block.position(offset) == (offsets < offset).sum()


def test_times_are_the_least_and_greatest_of_each_column(block):
    assert set(block.times) == {"timestamp", "ingestion_timestamp", "kafka_timestamp"}
    for name, span in block.times.items():
        column = observed()[name].to_physical()
        assert span == (column.min(), column.max())


def test_the_index_finds_exactly_the_rows_of_symbols(block):
    names = observed()["symbol"].cast(pl.String).to_numpy()
    for wanted in ([], ["NONE"], ["BTCUSDT"], ["XRPUSDT", "NONE", "BTCUSDT"], list(SYMBOLS)):
        assert block.symbols.positions(wanted).tolist() == np.flatnonzero(np.isin(names, wanted)).tolist()


def test_an_index_knows_more_than_65536_symbols():
    names = [f"S{number}" for number in range(70_000)]
    index = SymbolIndex(pl.Series("symbol", names * 2).cast(pl.Categorical))
    assert index.positions(["S69999"]).tolist() == [69_999, 139_999]


def test_few_rows_and_rows_without_a_symbol_have_no_index():
    assert resident(0, 100, between(0, 100)).symbols is None
    unnamed = observed().with_columns(symbol=pl.lit(None, pl.Categorical))
    assert resident(0, RECORDS, unnamed).symbols is None


def test_the_part_below_an_offset_has_the_rows_below_it(block):
    part = block.until(500)
    assert (part.lo, part.hi) == (0, 500)
    assert_frame_equal(
        part.rows.slice(NAMES, 0, part.rows.count), between(0, 500)[NAMES], categorical_as_str=True
    )


def test_an_index_counts_as_memory_of_the_rows_once_it_was_asked_for():
    whole = resident(0, RECORDS, observed())
    before = whole.rows.memory_bytes
    index = whole.symbols
    assert index is whole.symbols
    assert whole.rows.memory_bytes == before + index.memory_bytes
    assert index.memory_bytes >= 4 * whole.rows.count


def test_spilling_lets_the_index_go_and_the_folder_keeps_those_asked_for_last(tmp_path):
    block = resident(0, RECORDS, observed())
    one = block.symbols.memory_bytes
    folder = SpillFolder(tmp_path, 2 * one)
    first, second, third = (folder.spill(block) for _ in range(3))
    assert folder.index_bytes == 0, "spilling makes none"
    kept = [first.symbols, second.symbols]
    assert (first.symbols, second.symbols) == tuple(kept)
    assert folder.index_bytes == 2 * one
    assert first.symbols is kept[0]
    assert third.symbols is not None  # the second gives way, asked for longest ago
    assert (folder.index_bytes, first.symbols is kept[0], second.symbols is kept[1]) == (2 * one, True, False)
    for gone in (first, second, third):
        folder.delete(gone)
    assert folder.index_bytes == 0
    assert first.symbols.positions(["BTCUSDT"]).tolist() == kept[0].positions(["BTCUSDT"]).tolist()


def test_an_index_larger_than_all_that_is_allowed_is_not_kept(tmp_path):
    folder = SpillFolder(tmp_path, 1)
    spilled = folder.spill(resident(0, RECORDS, observed()))
    assert spilled.symbols is not None
    assert folder.index_bytes == 0


# Growing together


def grown(sizes, floor=0, full=FULL_ROWS, monkeypatch=None):
    """Blocks of consecutive offsets, a row each, appended one by one."""
    kept: tuple[Block, ...] = ()
    at = 0
    for size in sizes:
        frame = pl.DataFrame({"kafka_offset": np.arange(at, at + size)})
        kept = appended(kept, resident(at, at + size, frame), floor)
        at += size
    return kept, at


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), max_size=300))
def test_blocks_tile_what_was_appended_and_lose_no_row(sizes):
    kept, end = grown(sizes)
    assert [block.lo for block in kept] == ([0] + [block.hi for block in kept[:-1]] if kept else [])
    rows = [block.rows.slice(["kafka_offset"], 0, block.rows.count) for block in kept]
    offsets = pl.concat(rows)["kafka_offset"].to_list() if rows else []
    assert offsets == list(range(end))
    assert (kept[-1].hi if kept else 0) == end


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=400))
def test_a_row_is_copied_a_few_times_and_small_blocks_are_few(sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "FULL_ROWS", 1_000)
        kept: tuple[Block, ...] = ()
        copied = at = 0
        for size in sizes:
            frame = pl.DataFrame({"kafka_offset": np.arange(at, at + size)})
            before = kept
            kept = appended(kept, resident(at, at + size, frame), 0)
            copied += sum(block.rows.count for block in kept if block not in before) - size
            at += size
        assert sum(block.rows.count < 1_000 for block in kept) <= 30
        assert all(block.rows.count < 2_000 for block in kept)
        assert copied <= 10 * at


def test_blocks_that_begin_below_the_floor_are_left_as_they_are():
    kept, _ = grown([10] * 3)
    before = kept
    for at in (30, 40, 50, 60, 70):
        kept = appended(
            kept, resident(at, at + 10, pl.DataFrame({"kafka_offset": np.arange(at, at + 10)})), 30
        )
    assert kept[:3] == before
    assert [(block.lo, block.hi) for block in kept[3:]] == [(30, 70), (70, 80)]


def test_offsets_without_rows_are_held_too():
    nothing = pl.DataFrame({"kafka_offset": np.empty(0, np.int64)})
    kept: tuple[Block, ...] = ()
    for at in range(50):
        kept = appended(kept, resident(at, at + 1, nothing), 0)
    assert (kept[0].lo, kept[-1].hi) == (0, 50)
    assert len(kept) <= 4


# The folder


def test_a_spill_folder_is_emptied_at_start_of_its_own_files_alone(tmp_path):
    first = SpillFolder(tmp_path, MUCH)
    first.spill(resident(0, 100, between(0, 100)))
    [left] = tmp_path.glob("*.arrow")
    (tmp_path / "mine.txt").write_text("not theirs")
    with pytest.raises(StartRefused, match="is used by another process"):
        SpillFolder(tmp_path, MUCH)
    first.close()
    assert not left.exists()
    left.write_bytes(b"of a process that was killed")
    SpillFolder(tmp_path, MUCH)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "mine.txt"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="spill folder .*file/below cannot be used"):
        SpillFolder(tmp_path / "file" / "below", MUCH)


def test_a_reader_goes_on_reading_a_file_that_was_deleted(tmp_path):
    folder = SpillFolder(tmp_path, MUCH)
    spilled = folder.spill(resident(0, RECORDS, observed()))
    folder.delete(spilled)
    assert list(Path(tmp_path).glob("*.arrow")) == []
    assert_frame_equal(
        spilled.rows.slice(NAMES, 0, spilled.rows.count), observed()[NAMES], categorical_as_str=True
    )
