"""Fewer columns of an answer that is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pyarrow as pa

from seamark.query_gateway.answer import Answer


def projected(answer: Answer, names: Sequence[str]) -> Answer:
    """The same rows with the columns of these names."""
    schema = pa.schema([answer.schema.field(name) for name in names])
    given = Answer(answer.header, schema)

    async def batches() -> AsyncIterator[pa.RecordBatch]:
        async for batch in answer.batches:
            given.rows += batch.num_rows
            yield batch.select(list(names))
        given.next_cursor = answer.next_cursor

    given.batches = batches()
    return given
