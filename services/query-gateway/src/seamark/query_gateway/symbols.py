"""Refuses symbols that no instrument has: an empty answer about a misspelt one would be true, and mislead.

Knows which symbols there ever were. Must not know what is asked about them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from seamark.query_gateway.answer import Answer
from seamark.query_gateway.errors import NotFound, Unavailable
from seamark.query_gateway.running import Call

_LOOK_AGAIN_SECONDS = 1.0
"""An unknown symbol may be new; whoever invents many does not have the table read for each."""


class KnownSymbols:
    """Symbols of the reference data, as far as it was read; a symbol that was once known stays."""

    def __init__(
        self,
        instruments: Callable[[Call], Awaitable[Answer]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`instruments`: all there are now, as `answer_instruments` gives them."""
        self._instruments = instruments
        self._monotonic = monotonic
        self._known: frozenset[str] = frozenset()
        self._whole = False
        self._looked_at = float("-inf")

    async def check(self, symbols: Sequence[str], call: Call) -> None:
        """Nothing is refused where there is no instrument at all, or where not all of them can be read.

        Raises:
            NotFound: one of `symbols` is none.
        """
        if self._known.issuperset(symbols):
            return
        now = self._monotonic()
        if now - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._looked_at = now
            await self._look(call)
        if not self._whole or not self._known:
            return
        unknown = sorted(set(symbols) - self._known)
        if unknown:
            raise NotFound(
                f"symbol was {', '.join(map(repr, unknown[:5]))}, must be one that an instrument has: "
                f"see /v1/symbols",
                "symbols",
            )

    async def _look(self, call: Call) -> None:
        self._whole = False
        try:
            answer = await self._instruments(call)
        except Unavailable:
            return
        found = [symbol async for batch in answer.batches for symbol in batch.column("symbol").to_pylist()]
        self._known |= frozenset(found)
        self._whole = not answer.header.partial
