"""Rows of an answer become batches: all of them, in order, and not one for each part that they came from."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.query_gateway.answer import BATCH_ROWS, batches_of

SCHEMA = pa.schema([("number", pa.int64()), ("name", pa.string())])


def frame_of(first, behind):
    numbers = list(range(first, behind))
    names = [f"n{number % 3}" for number in numbers]
    return pl.DataFrame({"number": numbers, "name": names}, {"number": pl.Int64, "name": pl.String})


@given(st.lists(st.integers(0, 40), max_size=12))
def test_few_rows_of_many_parts_are_one_batch(lengths):
    ends = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    parts = [frame_of(0, 0), *(frame_of(*one) for one in zip(ends, ends[1:], strict=False))]
    batches = batches_of(pl.concat(parts, rechunk=False), SCHEMA)
    assert len(batches) <= 1
    assert [row for batch in batches for row in batch["number"].to_pylist()] == list(range(ends[-1]))


@pytest.mark.parametrize("parts", [1, 2, 300])
def test_many_rows_are_batches_of_the_usual_size(parts):
    count = BATCH_ROWS * 2 + 100
    step = -(-count // parts)
    rows = pl.concat([frame_of(at, min(at + step, count)) for at in range(0, count, step)], rechunk=False)
    batches = batches_of(rows, SCHEMA)
    assert all(batch.schema == SCHEMA and batch.num_rows <= BATCH_ROWS for batch in batches)
    assert len(batches) <= 4
    assert pa.Table.from_batches(batches)["number"].to_pylist() == list(range(count))
