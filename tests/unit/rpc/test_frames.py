"""Rows are the same after they went over a connection; other bytes, or fewer, are not taken for rows."""

from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.frames import LEAST_BYTES, MOST_BYTES, FramesInvalid, decode, encode

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
PLAIN = pa.schema([("n", pa.int64()), ("text", pa.string())])


def plain(start, stop, text="x"):
    return pa.record_batch({"n": range(start, stop), "text": [text] * (stop - start)}, PLAIN)


def dictionary(values, names):
    codes = pa.array(values, pa.int32())
    return pa.record_batch({"symbol": pa.DictionaryArray.from_arrays(codes, pa.array(names))})


def wide(rows):
    """About 50 bytes a row, with every type that a table's rows have, nulls included."""
    schema = row_schema(RecordKind.TRADES)
    columns = {}
    values: list[object]
    for field in schema:
        if pa.types.is_decimal(field.type):
            values = [Decimal(number) / 10**10 for number in range(rows)]
        elif pa.types.is_list(field.type):
            values = [["a"] * (number % 3) if number % 5 else None for number in range(rows)]
        elif pa.types.is_string(field.type):
            values = [f"{field.name}{number}" for number in range(rows)]
        else:
            values = list(range(rows))
        if field.nullable:
            values = [value if number % 4 else None for number, value in enumerate(values)]
        columns[field.name] = values
    return pa.record_batch(columns, schema)


def sizes(frames):
    """Bytes of each frame that has rows."""
    return [len(frame) for frame in frames[:-1]]


def test_rows_of_every_type_come_back_as_they_were():
    batch = wide(5_000)
    rows = pa.Table.from_batches(decode(encode(batch.schema, [batch])))
    assert rows.equals(pa.Table.from_batches([batch]), check_metadata=True)
    rows.validate(full=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 400))
def test_order_and_number_of_rows_survive_any_cut(lengths, cut):
    starts = np.cumsum([0, *lengths]).tolist()
    batches = [plain(start, start + rows) for start, rows in zip(starts, lengths, strict=False)]
    whole = b"".join(encode(PLAIN, batches))
    parts = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    found = pa.Table.from_batches(decode([b"", *parts, b""]), PLAIN)
    assert found["n"].to_pylist() == list(range(starts[-1]))


def test_the_schema_comes_first_and_the_end_last():
    rows, last = encode(PLAIN, [plain(0, 3)])
    assert pa.ipc.read_schema(pa.py_buffer(rows)) == PLAIN
    assert last == END


def test_no_rows_are_a_schema_and_no_batches():
    (frame,) = encode(PLAIN, [plain(0, 0)])
    assert list(decode([frame])) == []
    assert pa.ipc.open_stream(frame).read_all().schema == PLAIN


@pytest.mark.parametrize("rows", [9, 999, 100_000])
def test_frames_have_the_size_that_readers_are_promised(rows):
    table = pa.table({"n": np.arange(100_000), "m": np.arange(100_000)})
    frames = list(encode(table.schema, table.to_batches(max_chunksize=rows)))
    metadata_bytes = 1_000
    assert max(sizes(frames)) <= MOST_BYTES + metadata_bytes
    assert min(sizes(frames)[:-1]) >= LEAST_BYTES
    assert pa.Table.from_batches(decode(frames)).equals(table)


def test_rows_of_uneven_size_are_cut_where_they_are_large():
    texts = ["x" * 600_000 if 500 <= number < 505 else "x" for number in range(10_000)]
    batch = pa.record_batch({"n": range(10_000), "text": texts}, PLAIN)
    frames = list(encode(PLAIN, [batch]))
    assert max(sizes(frames)) <= MOST_BYTES + 1_000
    assert pa.Table.from_batches(decode(frames)).equals(pa.Table.from_batches([batch]))


def test_a_row_larger_than_a_frame_goes_alone():
    large = plain(1, 2, "x" * 3 * MOST_BYTES)
    rows = list(decode(encode(PLAIN, [plain(0, 1), large, plain(2, 3)])))
    assert [batch["n"].to_pylist() for batch in rows] == [[0, 1], [2]]


def test_nothing_is_read_ahead_of_the_frame_that_is_given():
    asked = []

    def batches():
        for number in range(4):
            asked.append(number)
            yield plain(0, 40_000)

    frames = encode(PLAIN, batches())
    assert asked == []
    next(frames)
    assert asked == [0]


def test_dictionaries_that_differ_are_told_apart():
    batches = [
        dictionary([0, 1, None], ["A", "B"]),
        dictionary([0, 1], ["C", "A"]),
        dictionary(np.full(300_000, 1), ["A", "B"]),
        dictionary(np.full(300_000, 0), ["D"]),
    ]
    found = pa.Table.from_batches(decode(encode(batches[0].schema, batches)))["symbol"]
    assert found[:5].to_pylist() == ["A", "B", None, "C", "A"]
    assert found[5:300_005].unique().to_pylist() == ["B"]
    assert found[300_005:].unique().to_pylist() == ["D"]
    assert len(found) == 600_005


def test_a_dictionary_is_sent_once_whatever_its_size():
    names = [f"{number:0100d}" for number in range(20_000)]
    batch = dictionary(np.arange(1_000_000) % 20_000, names)
    frames = list(encode(batch.schema, [batch]))
    assert sum(map(len, frames)) < 2_000_000 + 4_000_000 + 100_000
    assert pa.Table.from_batches(decode(frames)).equals(pa.Table.from_batches([batch]))


def test_categories_of_a_frame_come_back_as_categories():
    frame = pl.DataFrame({"symbol": pl.Series(["A", "B", "A"], dtype=pl.Categorical), "n": [1, 2, 3]})
    table = frame.to_arrow()
    back = pl.DataFrame(pa.Table.from_batches(decode(encode(table.schema, table.to_batches()))))
    assert back["symbol"].dtype == pl.Categorical
    assert back["symbol"].cast(pl.String).to_list() == ["A", "B", "A"]


def test_decoding_copies_no_rows():
    table = pa.table({"n": np.arange(200_000)})
    frames = list(encode(table.schema, table.to_batches()))
    memory = [(buffer.address, buffer.address + buffer.size) for buffer in map(pa.py_buffer, frames)]
    for batch in decode(frames):
        address = batch["n"].buffers()[1].address
        assert any(start <= address < stop for start, stop in memory)


def test_rows_that_are_not_aligned_are_copied_to_where_they_are():
    batch = wide(100)
    joined = b"".join(encode(batch.schema, [batch]))
    (found,) = decode([joined[:4], joined[4:]])
    assert found["kafka_offset"].buffers()[1].address % 8 == 0
    assert found.equals(batch)


def test_views_are_refused():
    with pytest.raises(ValueError, match="column v was string_view, must be string or binary"):
        list(encode(pa.schema([("v", pa.string_view())]), []))


FRAMES = list(encode(PLAIN, [plain(0, 100_000)]))
WHOLE = b"".join(FRAMES)


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_stream_that_is_cut_short_is_refused(length):
    with pytest.raises(FramesInvalid, match="frames end after"):
        list(decode([WHOLE[:length]]))


@pytest.mark.parametrize("lacking", [0, -1])
def test_a_stream_without_its_first_or_last_frame_is_refused(lacking):
    frames = list(FRAMES)
    del frames[lacking]
    with pytest.raises(FramesInvalid):
        list(decode(frames))


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_bytes_that_are_something_else_are_refused(foreign):
    with pytest.raises(FramesInvalid, match="frames"):
        list(decode([foreign]))


@pytest.mark.parametrize("behind", [b"x", END, WHOLE])
def test_bytes_behind_the_end_are_refused(behind):
    with pytest.raises(FramesInvalid, match=f"frames go on after {len(WHOLE)} bytes"):
        list(decode([WHOLE, behind]))


@pytest.mark.parametrize("raised", [ConnectionResetError, pa.ArrowInvalid, RuntimeError])
@pytest.mark.parametrize("before", [0, 1])
def test_what_the_connection_raises_is_not_taken_for_bad_frames(before, raised):
    def frames():
        yield from FRAMES[:before]
        raise raised("gone")

    with pytest.raises(raised, match="gone") as failed:
        list(decode(frames()))
    assert type(failed.value) is raised
