"""Recordings as an endless market."""

import gzip
from pathlib import Path

import pytest

from seamark.simulator.errors import RecordingError, StateError
from seamark.simulator.events import BookTicker, Trade
from seamark.simulator.recording import RecordingSource
from seamark.simulator.wire import FrameFormat, TimeUnit, frame_text
from unit.simulator.venue import RECORDED, START_MS, write_recording


@pytest.fixture
def source(tmp_path: Path) -> RecordingSource:
    return RecordingSource([write_recording(tmp_path / "r.jsonl")])


def trades(events):
    return [event for _, event in events if isinstance(event, Trade)]


def test_ids_carry_on_from_loop_to_loop(source):
    three_loops = source.take(36, 0)
    assert [trade.trade_id for trade in trades(three_loops)] == list(range(100, 118))
    updates = [event.update_id for _, event in three_loops if isinstance(event, BookTicker)]
    assert updates == sorted(set(updates)) and len(updates) == 18


def test_no_time_goes_back_over_a_loop(source):
    three_loops = source.take(36, 0)
    dues = [due for due, _ in three_loops]
    times = [trade.trade_time_us for trade in trades(three_loops)]
    assert dues == sorted(dues) and times == sorted(times)
    assert times[6] > times[5]


def test_one_shift_moves_all_times(source, tmp_path):
    shift_us = 5_000_000
    moved = trades(RecordingSource([tmp_path / "r.jsonl"]).take(36, shift_us))
    for before, after in zip(trades(source.take(36, 0)), moved, strict=True):
        assert after.trade_time_us - before.trade_time_us == shift_us
        assert after.event_time_us - before.event_time_us == shift_us
        assert (after.trade_id, after.price, after.quantity) == (
            before.trade_id,
            before.price,
            before.quantity,
        )


def test_no_frame_is_due_before_its_own_event_time(source):
    scheduled = source.take(12, 0)
    delays = [due - event.event_time_us for due, event in scheduled if isinstance(event, Trade)]
    assert min(delays) == 0  # the recorder's clock was 1.27 s behind
    assert scheduled[0].event.trade_time_us == START_MS * 1000


def test_a_position_always_gives_the_same_events(source):
    source.take(17, 0)
    cursor = source.cursor()
    first = source.take(20, 3000)
    source.seek(cursor)
    assert source.position() == 17
    assert source.take(20, 3000) == first


def test_recordings_are_merged_by_receive_time(tmp_path):
    paths = [
        write_recording(tmp_path / "b.jsonl"),
        write_recording(tmp_path / "e.jsonl", symbol="ETHUSDT", trades=4),
    ]
    source = RecordingSource(paths)
    symbols = [trade.symbol for trade in trades(source.take(20, 0))]
    assert symbols[:8] == ["BTCUSDT", "ETHUSDT"] * 4
    assert [instrument.symbol for instrument in source.instruments] == ["BTCUSDT", "ETHUSDT"]


def test_tick_and_step_are_the_coarsest_grid_all_values_are_on(source):
    (instrument,) = source.instruments
    assert (instrument.base_asset, instrument.quote_asset) == ("BTC", "USDT")
    assert (instrument.tick, instrument.step) == (1_000_000, 100_000)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('12 {"stream":"btcusdt@trade","data":{"e":"trade"}}', "line 1"),
        ("12 {", "line 1"),
        ('x {"stream":"a@bookTicker","data":{"u":1,"s":"A","b":"1","B":"1","a":"1","A":"1"}}', "line 1"),
        ('12 {"lastUpdateId":1}', "no trade and no book ticker"),
    ],
)
def test_a_recording_that_is_none_is_refused_by_line(tmp_path, line, told):
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    with pytest.raises(RecordingError, match=told):
        RecordingSource([tmp_path / "bad.jsonl"])


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"none\.jsonl"):
        RecordingSource([tmp_path / "none.jsonl"])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"1 {}\n" * 1000)[:-20])
    with pytest.raises(RecordingError, match=r"cut\.jsonl\.gz"):
        RecordingSource([tmp_path / "cut.jsonl.gz"])


@pytest.mark.parametrize("cursor", [{}, {"position": -1}, {"position": "7"}])
def test_a_foreign_cursor_is_refused(source, cursor):
    with pytest.raises(StateError, match="position was"):
        source.seek(cursor)


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded market data in {RECORDED}")
def test_unshifted_frames_are_the_recorded_ones_to_the_byte():
    path = RECORDED / "binance_spot_ethusdt_20240808.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        frames = [line.split(" ", 1)[1].strip() for line in lines]
    recorded = [frame for frame in frames if "@trade" in frame or "@bookTicker" in frame]
    form = FrameFormat(combined=True, time_unit=TimeUnit.MILLISECOND)
    played = [frame_text(event, form) for _, event in RecordingSource([path]).take(len(recorded), 0)]
    assert played == recorded
