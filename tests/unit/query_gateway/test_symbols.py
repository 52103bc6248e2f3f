"""An unknown symbol is refused; a new one is not, nor any where nobody can say."""

from __future__ import annotations

import asyncio
import re

import polars as pl
import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.market.schema import RecordKind
from seamark.query_gateway.answer import Answer
from seamark.query_gateway.errors import NotFound, Unavailable
from seamark.query_gateway.header import Missing
from seamark.query_gateway.question import Latest
from seamark.query_gateway.running import Call
from seamark.query_gateway.symbols import KnownSymbols
from twins.gateway import MemoryGateway
from unit.query_gateway.rows import rows_of

KIND = RecordKind.REFERENCE_DATA
CALL = Call("query", "tester", "correlation")


class Book:
    """Instruments as a gateway gives them, and a clock."""

    def __init__(self, *symbols: str) -> None:
        self.gateway = MemoryGateway()
        self.down = False
        self.now = 100.0
        self.looks = 0
        self.list(*symbols)
        self.known = KnownSymbols(self.instruments, lambda: self.now)

    def list(self, *symbols: str) -> None:
        rows = [
            {"symbol": symbol, "event_id": symbol, "stream_id": 1, "kafka_partition": 0, "kafka_offset": at}
            for at, symbol in enumerate(symbols)
        ]
        self.gateway.frames[KIND] = pl.DataFrame(rows_of(KIND, rows))

    async def instruments(self, call: Call) -> Answer:
        self.looks += 1
        if self.down:
            raise Unavailable("nobody answers")
        return await self.gateway.instruments((), Latest(), call)

    def check(self, *symbols: str) -> None:
        asyncio.run(self.known.check(symbols, CALL))


def test_a_symbol_that_no_instrument_has_is_named():
    book = Book("AAA", "BBB")
    book.check("AAA")
    book.check("BBB", "AAA")
    with pytest.raises(NotFound, match=re.escape("symbol was 'CCC', must be one that an instrument has")):
        book.check("AAA", "CCC")
    assert book.looks == 1


def test_a_new_symbol_is_found_and_many_unknown_ones_are_one_look():
    book = Book("AAA")
    for number in range(10):
        with pytest.raises(NotFound):
            book.check(f"X{number}")
    assert book.looks == 1
    book.list("AAA", "X0")
    book.now += 1
    book.check("X0")
    assert book.looks == 2


def test_nothing_is_refused_where_nobody_can_say():
    Book().check("AAA")
    down = Book("AAA")
    down.down = True
    down.check("ZZZ")
    partial = Book("AAA")
    partial.gateway.missing = (Missing(StreamPartition(1, 0), 1, 2, "LOG_GONE"),)
    partial.check("ZZZ")


def test_no_symbols_are_all_symbols():
    book = Book("AAA")
    book.check()
    assert book.looks == 0
