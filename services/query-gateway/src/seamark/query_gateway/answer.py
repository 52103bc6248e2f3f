"""An answer while it is given: a header first, then rows as they come, then how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from seamark.query_gateway.header import AnswerHeader

BATCH_ROWS = 65_536
"""Rows of a record batch: 256 KiB to 1 MiB of the usual columns."""


async def _no_batches() -> AsyncIterator[pa.RecordBatch]:
    for batch in list[pa.RecordBatch]():
        yield batch


@dataclass(slots=True, eq=False)
class Answer:
    """Header and rows. Whoever takes it must exhaust or close `batches`; closing cancels what is behind it."""

    header: AnswerHeader
    schema: pa.Schema
    batches: AsyncIterator[pa.RecordBatch] = field(default_factory=_no_batches)
    """Record batches of `schema` in the asked order."""
    rows: int = 0
    """Given so far."""
    next_cursor: str = ""
    """The next page; set when `batches` is exhausted, empty where there is none."""


def batches_of(rows: pl.DataFrame | pa.Table, schema: pa.Schema) -> list[pa.RecordBatch]:
    """`rows` as record batches of `schema`, as few as there must be: whoever encodes them pays by the batch."""
    table = rows[schema.names].to_arrow() if isinstance(rows, pl.DataFrame) else rows
    if table.schema != schema:
        table = table.cast(schema)
    if max((column.num_chunks for column in table.columns), default=0) > 1 + len(table) // BATCH_ROWS:
        table = table.combine_chunks()  # rows of many files, or of many parts of an answer
    batches: list[pa.RecordBatch] = table.to_batches(max_chunksize=BATCH_ROWS)
    return batches


def whole_answer(header: AnswerHeader, schema: pa.Schema, rows: pl.DataFrame | pa.Table | None) -> Answer:
    """An answer whose rows are all there already."""
    answer = Answer(header, schema)

    async def give() -> AsyncIterator[pa.RecordBatch]:
        for batch in batches_of(rows, schema) if rows is not None else ():
            answer.rows += batch.num_rows
            yield batch

    answer.batches = give()
    return answer
