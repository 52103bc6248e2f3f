"""History through Trino: for scans too wide for one process."""

from __future__ import annotations

import json
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import trino
from trino.exceptions import HttpError, TrinoConnectionError, TrinoQueryError

from seamark.lake.errors import CatalogUnavailable
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.query_gateway.sources import (
    History,
    HistoryEstimate,
    HistoryPlan,
    SnapshotGone,
    Window,
)
from seamark.query_gateway.threads import OwnThreads, Threads
from seamark.query_gateway.trino_sql import select

_WIDER = 4
"""Windows have as many times more rows: a statement takes Trino a second, however little it gives."""
_FETCH_ROWS = 10_000
"""Made columns at once: more of them fit into no cache, and take longer each."""
_LOOK_SECONDS = 0.1
"""Between two looks whether anybody still waits."""
_THREADS, _WAITING = 8, 32
"""Windows that Trino reads at the same time, and that wait for their turn."""
_GONE = ("ICEBERG_MISSING_METADATA", "ICEBERG_CANNOT_OPEN_SPLIT")


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    kind: RecordKind
    snapshot_id: int
    predicate: Predicate
    columns: tuple[str, ...]
    planned: HistoryPlan
    """By file statistics alone; they say what a scan touches, whoever does it."""

    @property
    def estimate(self) -> HistoryEstimate:
        return self.planned.estimate

    @property
    def newest_us(self) -> int | None:
        return self.planned.newest_us

    def windows(self, target_rows: int) -> Sequence[Window]:
        return self.planned.windows(target_rows * _WIDER)

    def made_of(self, edges_us: Sequence[int]) -> Sequence[frozenset[Hashable]]:
        return self.planned.made_of(edges_us)


class TrinoHistory(OwnThreads):
    """A `History` over a Trino cluster whose catalog is the same lake."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        catalog: str,
        namespace: str,
        planner: History,
        longest_seconds: float = 300.0,
    ) -> None:
        """`longest_seconds`: after which Trino itself ends a query; no answer may wait longer."""
        self.threads = Threads("Trino", _THREADS, _WAITING)
        self._connect = {
            "host": host,
            "port": port,
            "user": user,
            "timezone": "UTC",
            # Packed, it takes Trino longer than the network between two services takes for the rest.
            "http_headers": {"Accept-Encoding": "identity"},
            "legacy_prepared_statements": False,  # else a statement of its own finds out
            "session_properties": {"query_max_run_time": f"{longest_seconds:g}s"},
        }
        self._tables: Mapping[RecordKind, str] = {
            kind: f'"{catalog}"."{namespace}"."{kind.value}"' for kind in RecordKind
        }
        self._planner = planner

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> HistoryPlan:
        assert pin.snapshot_id is not None
        planned = self._planner.plan(pin, predicate, columns)
        return _Plan(RecordKind(pin.table), pin.snapshot_id, predicate, tuple(columns), planned)

    def read(
        self, plan: HistoryPlan, window: Window, below: Vector | None, cancelled: threading.Event
    ) -> Iterator[pl.DataFrame]:
        assert isinstance(plan, _Plan)
        statement = select(
            self._tables[plan.kind], plan.kind, plan.snapshot_id, plan.columns, plan.predicate, window, below
        )
        schema = row_schema(plan.kind)
        fields = [schema.field(name) for name in plan.columns]
        connection = trino.dbapi.connect(**self._connect)  # type: ignore[no-untyped-call]
        # Values as they stand in the JSON: `select` sees to it that they say all.
        cursor = connection.cursor(legacy_primitive_types=True)
        over = threading.Event()

        def watch() -> None:
            """`execute` and `fetchmany` return no sooner than rows come."""
            while not over.wait(_LOOK_SECONDS):
                # Before Trino has named the query there is nothing to cancel: it is tried again.
                if cancelled.is_set():
                    _cancel(cursor)

        threading.Thread(target=watch, name="trino-watch", daemon=True).start()
        try:
            cursor.execute(statement.sql, statement.parameters or None)
            pages = iter(cursor)  # `fetchmany` asks anew for each row
            while not cancelled.is_set() and (rows := list(islice(pages, _FETCH_ROWS))):
                yield pl.DataFrame(
                    [
                        _column(field, values)
                        for field, values in zip(fields, zip(*rows, strict=True), strict=True)
                    ]
                )
        except TrinoQueryError as error:
            if cancelled.is_set():
                return
            if error.error_name in _GONE:
                raise SnapshotGone(f"Trino: {error.message}") from error
            raise CatalogUnavailable(f"Trino: {error.error_name}: {error.message}") from error
        except (TrinoConnectionError, HttpError, OSError) as error:
            if cancelled.is_set():
                return
            raise CatalogUnavailable(f"Trino does not answer: {error}") from error
        finally:
            over.set()
            _cancel(cursor)  # nothing where it has ended; else Trino stops working for nobody
            connection.close()


def _cancel(cursor: trino.dbapi.Cursor) -> None:
    # Where Trino cannot be told, its own limit of time ends the query.
    with suppress(TrinoConnectionError, TrinoQueryError, HttpError, OSError):
        cursor.cancel()  # type: ignore[no-untyped-call]


def _column(field: pa.Field, values: Sequence[object]) -> pl.Series:
    arrow = field.type
    if pa.types.is_timestamp(arrow):
        # Arrow reads text in a quarter of the time that polars takes, and refuses what names no zone.
        text = pc.replace_substring(pa.array(values, pa.string()), " UTC", "Z")
        return pl.Series(text.cast(arrow)).alias(field.name)
    if pa.types.is_date(arrow):
        return pl.Series(field.name, values, pl.Int32).cast(pl.Date)
    if pa.types.is_decimal(arrow):
        # Text of a decimal column has its scale: nothing is rounded here.
        return pl.Series(field.name, values, pl.String).cast(pl.Decimal(arrow.precision, arrow.scale))
    if pa.types.is_nested(arrow):
        parsed = [None if value is None else _parsed(json.loads(str(value)), arrow) for value in values]
        return pl.Series(pa.array(parsed, arrow)).alias(field.name)
    return pl.Series(pa.array(values, arrow)).alias(field.name)


def _parsed(value: object, arrow: pa.DataType) -> object:
    """Trino casts a row to a JSON list or object, by version: names are put back where they are missing."""
    if not isinstance(value, list) or not pa.types.is_struct(arrow.value_type):
        return value
    names = [arrow.value_type.field(at).name for at in range(arrow.value_type.num_fields)]
    return [dict(zip(names, one, strict=True)) if isinstance(one, list) else one for one in value]
