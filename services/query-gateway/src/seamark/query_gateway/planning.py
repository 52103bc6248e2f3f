"""Who reads the history of a question, and what that takes.

Knows the readers that there are, and their budget. Must not know what the rows are for, nor the tail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from seamark.lake.errors import LakeError
from seamark.market.predicate import Predicate
from seamark.query_gateway.errors import Invalid, Unavailable
from seamark.query_gateway.header import Estimate
from seamark.query_gateway.lru import Lru
from seamark.query_gateway.pin import Known, Pin
from seamark.query_gateway.question import Engine
from seamark.query_gateway.sources import History, HistoryEstimate, HistoryPlan, SnapshotGone


class Planned(NamedTuple):
    """History of one question."""

    engine: Engine
    plan: HistoryPlan | None
    """None: there is nothing to read."""
    estimate: Estimate


_KEPT = 32
"""Plans of the last questions."""


class Planner:
    """Chooses among readers of history."""

    def __init__(self, histories: Mapping[Engine, History], direct_bytes: int) -> None:
        """`direct_bytes`: compressed bytes above which Trino reads, where there is one."""
        self._histories = histories
        self._direct_bytes = direct_bytes
        # A request plans the same again: what it would cost, what it may cost, what it reads.
        self._kept: Lru[tuple[object, ...], Planned] = Lru(_KEPT)

    def history(self, engine: Engine) -> History:
        return self._histories[engine]

    async def plan(
        self,
        pin: Pin,
        predicate: Predicate,
        columns: Sequence[str],
        wanted: Engine | None,
        known: Known | None = None,
    ) -> Planned:
        """What reading `columns` of the matching rows takes. `known`: rows that are of no use.

        Raises:
            Invalid: `wanted` is not there. Unavailable, SnapshotGone: history cannot be planned.
        """
        if wanted is not None and wanted not in self._histories:
            raise Invalid(
                "engine",
                f"engine was {wanted.value}, must be {' or '.join(e.value for e in self._histories)}",
            )
        if pin.snapshot_id is None or (known is not None and known.covers(pin)):
            return NOTHING
        asked = (pin.table, pin.view.uuid, pin.snapshot_id, predicate, tuple(columns), wanted)
        if (kept := self._kept.get(asked)) is not None:
            return kept
        try:
            planned = await asyncio.to_thread(self._plan, pin, predicate, columns, wanted)
        except LakeError as error:
            raise Unavailable(f"history of table {pin.table} cannot be planned: {error}") from error
        except SnapshotGone as error:
            raise SnapshotGone(f"history of table {pin.table} is gone: {error}") from error
        self._kept.put(asked, planned, 1)
        return planned

    def _plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str], wanted: Engine | None) -> Planned:
        engine = wanted or Engine.DIRECT
        plan = self._histories[engine].plan(pin, predicate, columns)
        estimate = plan.estimate
        if wanted is None and Engine.TRINO in self._histories and estimate.bytes > self._direct_bytes:
            engine = Engine.TRINO
            plan = self._histories[engine].plan(pin, predicate, columns)
            estimate = plan.estimate
        return Planned(engine, plan if estimate.files else None, estimate_of(estimate, engine))


def estimate_of(found: HistoryEstimate, engine: Engine) -> Estimate:
    cost = 1 + found.rows // 10_000 + found.bytes // 1024**2
    return Estimate(found.rows, found.bytes, found.files, engine, cost)


NOTHING = Planned(Engine.DIRECT, None, estimate_of(HistoryEstimate(0, 0, 0), Engine.DIRECT))
"""History that is not read."""
