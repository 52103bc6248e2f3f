"""Current state of the instruments: of each key the last row, of each event the first."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from seamark.market.order import total_order
from seamark.market.predicate import Clock, Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.answer import Answer, whole_answer
from seamark.query_gateway.opening import Opening
from seamark.query_gateway.ordered_rows import collect, needed_columns
from seamark.query_gateway.question import Consistency, hash_of
from seamark.query_gateway.running import Call

_KIND = RecordKind.REFERENCE_DATA
_KEY = ("exchange", "market", "symbol")
INSTRUMENT_SCHEMA = pa.schema(list(row_schema(_KIND)))


def current(rows: pl.DataFrame) -> pl.DataFrame:
    """Of rows in the order of the log: each event once, then each instrument's last."""
    return (
        rows.unique("event_id", keep="first", maintain_order=True)
        .unique(_KEY, keep="last", maintain_order=True)
        .sort(_KEY)
    )


async def answer_instruments(
    opening: Opening, symbols: tuple[str, ...], consistency: Consistency, call: Call
) -> Answer:
    """Rows of INSTRUMENT_SCHEMA, by exchange, market and symbol. No symbols: all."""
    named = hash_of("instruments", sorted(symbols))
    want = opening.want(consistency, _KIND.value, named)
    predicate = Predicate(symbols, known_at_us=want.known_at_us)
    columns = needed_columns(_KIND, INSTRUMENT_SCHEMA.names)
    opened, rows = await opening.read(_KIND, predicate, columns, want, call, collect)
    header = opening.header((opened,), named, Clock.EVENT, call)
    return whole_answer(header, INSTRUMENT_SCHEMA, None if rows is None else current(rows))


# Rows of one event may come from two streams of a chain; the log's order is theirs.
assert total_order(_KIND)[0] == "stream_id"
