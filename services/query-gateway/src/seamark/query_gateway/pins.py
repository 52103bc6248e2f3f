"""The current pin of each table: loaded once a second, never per question."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from seamark.lake import excluded
from seamark.lake.checkpoint import ExcludedRange
from seamark.lake.errors import CatalogUnavailable, CheckpointInvalid, TableMissing
from seamark.lake.states import StateStore
from seamark.lake.view import LakeTable, TableView
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Unavailable
from seamark.query_gateway.pin import Pin, pin_head

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    pin: Pin
    at_seconds: float
    """Monotonic time at which the load began: what was committed before is in it."""


class PinCache:
    """Pins of all tables. A catalog that does not answer leaves the last ones standing, with their age."""

    def __init__(
        self, tables: Mapping[RecordKind, LakeTable], store: StateStore, poll_seconds: float = 1.0
    ) -> None:
        self._tables = tables
        self._store = store
        self._poll_seconds = poll_seconds
        self._loaded: dict[RecordKind, _Loaded] = {}
        self._flights: dict[RecordKind, asyncio.Task[Pin]] = {}
        self._failing: dict[RecordKind, str] = {}

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.gather(*(self._try(kind) for kind in self._tables))
            await asyncio.sleep(self._poll_seconds)

    async def _try(self, kind: RecordKind) -> None:
        try:
            await self.refresh(kind)
        except Unavailable as error:
            if self._failing.get(kind) != str(error):
                logger.warning("pin not refreshed", extra={"table": kind.value, "error": str(error)})
            self._failing[kind] = str(error)
        else:
            self._failing.pop(kind, None)

    def current(self, kind: RecordKind) -> Pin:
        """The newest pin.

        Raises:
            Unavailable: the table could never be loaded.
        """
        loaded = self._loaded.get(kind)
        if loaded is None:
            raise Unavailable(
                f"table {kind.value} could not be loaded yet: {self._failing.get(kind, 'the gateway has just started')}"
            )
        return loaded.pin

    def age_ms(self, kind: RecordKind) -> int:
        """How long ago the current pin was loaded."""
        return int((time.monotonic() - self._loaded[kind].at_seconds) * 1000)

    def ranges(self, text: str | None) -> tuple[ExcludedRange, ...]:
        """The ranges that a property or summary names."""
        return excluded.ranges(text, self._store)

    async def refresh(self, kind: RecordKind) -> Pin:
        """The head now. Callers at the same time share one load.

        Raises:
            Unavailable: the catalog does not answer; the last pin stays.
        """
        flight = self._flights.get(kind)
        if flight is None:
            flight = asyncio.create_task(self._load(kind))
            self._flights[kind] = flight
            flight.add_done_callback(lambda _: self._flights.pop(kind, None))
        return await asyncio.shield(flight)

    async def _load(self, kind: RecordKind) -> Pin:
        began_seconds = time.monotonic()
        try:
            view = await asyncio.to_thread(self._tables[kind].load)
        except (CatalogUnavailable, TableMissing) as error:
            raise Unavailable(f"table {kind.value}: {error}") from error
        pin = await asyncio.to_thread(self._pin, kind, view)
        self._loaded[kind] = _Loaded(pin, began_seconds)
        return pin

    def _pin(self, kind: RecordKind, view: TableView) -> Pin:
        last = self._loaded.get(kind)
        if (
            last is not None
            and last.pin.view.head_id == view.head_id
            and last.pin.view.properties == view.properties
        ):
            return last.pin
        try:
            pin = pin_head(kind.value, view, self.ranges)
        except (CheckpointInvalid, CatalogUnavailable) as error:
            raise Unavailable(f"table {kind.value}: {error}") from error
        if pin.doubt and (last is None or last.pin.doubt != pin.doubt):
            logger.error("answers are not exact", extra={"table": kind.value, "reason": pin.doubt})
        return pin
