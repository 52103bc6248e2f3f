"""Plans and reads rows of one snapshot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import polars as pl
from pyiceberg.table import Table

from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway.direct.bounds import may_lie, may_match, surely_matches
from seamark.query_gateway.direct.columns import ColumnReader, Group, Part
from seamark.query_gateway.direct.datafile_cache import DataFiles
from seamark.query_gateway.direct.files import LiveFiles
from seamark.query_gateway.direct.footers import Footer
from seamark.query_gateway.direct.plan import Plan
from seamark.query_gateway.direct.store import Stores
from seamark.query_gateway.merge import below as below_vector
from seamark.query_gateway.merge import inside
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.question import Vector
from seamark.query_gateway.sources import HistoryPlan, Window

_MOST_FOOTERS = 2_000
"""Files whose footers a plan looks at; of more, they are read when it is their turn."""
_FOOTERS_AT_ONCE = 256
_PART_ROWS = 128 * 1024
"""Rows that one thread decodes before it looks whether anybody still wants them; about."""
_FRAME_ROWS = 256 * 1024
"""Rows that are held against the question in one go; about."""
_CELL_BYTES = 8
"""A value in memory; about."""
_MOST_KEPT = 512
"""Row groups of one answer of which the symbol's rows are kept, where all rows are too many."""
T = TypeVar("T")
R = TypeVar("R")


class DirectReader:
    """A `History`. Any thread may ask; calls block."""

    def __init__(self, cache_bytes: int, threads: int) -> None:
        """Keeps what was read, of all tables together.

        `cache_bytes`: half of it decoded columns, a quarter whole files, the rest footers and manifests.
        `threads`: that wait for the store or decode at the same time.
        """
        self._threads = threads
        stores = Stores()
        self._files = LiveFiles(stores, cache_bytes // 16)
        self._file_bytes = cache_bytes // 4
        self._data = DataFiles(stores, footer_bytes=cache_bytes // 8, file_bytes=self._file_bytes)
        self._pool = ThreadPoolExecutor(threads, "direct")
        self._column_bytes = cache_bytes // 2
        self._columns = ColumnReader(self._data, self._column_bytes, self._pool)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def warm(self, pin: Pin) -> None:
        """Fetch what questions about a new snapshot will ask for first: its manifests, and its newest files.

        Without it the first question after each commit waits for the store.

        Raises:
            SnapshotGone, DirectReadRefused, CatalogUnavailable: as `plan`; questions may still be asked.
        """
        kind, table = RecordKind(pin.table), pin.view.handle
        files = self._files.of(kind, table, pin.snapshot_id).sort("timestamp_max", descending=True)
        # Half of the room: the other is for another table's.
        newest = files.filter(pl.col("size_bytes").cum_sum() <= self._file_bytes // 2)

        def fetch(path: str, size_bytes: int) -> None:
            self._data.hold(table, path, size_bytes)
            self._data.footer(kind, table, path, size_bytes)

        pairs = iter(newest.select("path", "size_bytes").rows())
        for _ in _ahead(lambda pair: self._pool.submit(fetch, *pair).result, pairs, self._threads):
            pass

    def plan(self, pin: Pin, predicate: Predicate, columns: Sequence[str]) -> Plan:
        """What reading `columns` of the matching rows of the pinned snapshot touches.

        Raises:
            SnapshotGone: the snapshot or one of its files is not there any more.
            DirectReadRefused: it has delete files.
            CatalogUnavailable: the object store does not answer.
        """
        kind, table = RecordKind(pin.table), pin.view.handle
        condition = may_match(predicate, kind)
        files = self._files.of(kind, table, pin.snapshot_id).filter(condition)
        refined = len(files) <= _MOST_FOOTERS
        pieces = self._row_groups(kind, table, files, condition) if refined else files
        return Plan(kind, table, predicate, tuple(columns), pieces, refined)

    def read(
        self, plan: HistoryPlan, window: Window, below: Vector | None, cancelled: threading.Event
    ) -> Iterator[pl.DataFrame]:
        """Matching rows in the window with the plan's columns, in no order; text that repeats as Categorical.

        `below`: only rows whose offset is below their partition's; of partitions not named, none. Stops early
        once `cancelled` is set.

        Raises:
            SnapshotGone, DirectReadRefused, CatalogUnavailable: as `plan`.
        """
        assert isinstance(plan, Plan)  # made by this reader
        conditions = [plan.predicate.expression(), inside(window)]
        if below is not None:
            conditions.append(below_vector(below))
        known = [condition for condition in conditions if condition is not None]
        keep = pl.all_horizontal(known) if known else pl.lit(value=True)
        compared = tuple(dict.fromkeys([*plan.columns, *keep.meta.root_names()]))

        def begin(part: Part) -> Callable[[], list[pl.DataFrame]]:
            return self._columns.begin(plan.kind, plan.table, part, cancelled)

        unsure: list[pl.DataFrame] = []
        waiting = 0
        # No more than half of the threads, so that a long answer leaves some to the short ones.
        at_a_time = max(1, self._threads // 2)
        for part, frames in _ahead(begin, self._parts(plan, compared, window, below), at_a_time):
            if cancelled.is_set():
                return
            for group, frame in zip(part.groups, frames, strict=True):
                if group.sure:
                    yield frame
                    continue
                unsure.append(frame)
                waiting += len(frame)
                if waiting >= _FRAME_ROWS:
                    yield from _matching(unsure, keep, plan.columns)
                    unsure, waiting = [], 0
        yield from _matching(unsure, keep, plan.columns)

    def _row_groups(
        self, kind: RecordKind, table: Table, files: pl.DataFrame, condition: pl.Expr
    ) -> pl.DataFrame:
        """Row groups of files, of those that `condition` may hold for."""

        def begin(file: tuple[str, int]) -> Callable[[], Footer]:
            held = self._data.held_footer(file[0])
            if held is not None:
                return lambda: held
            return self._pool.submit(self._data.footer, kind, table, *file).result

        pairs = iter(files.select("path", "size_bytes").rows())
        frames = [footer.groups for _, footer in _ahead(begin, pairs, self._threads)]
        return (
            pl.concat(frames).filter(condition) if frames else files.with_columns(group=pl.lit(0, pl.Int32))
        )

    def _parts(
        self, plan: Plan, compared: tuple[str, ...], window: Window, below: Vector | None
    ) -> Iterator[Part]:
        """What to read. `compared`: the columns of a group that is not sure to match."""
        lies = may_lie(window, below)
        matches = may_match(plan.predicate, plan.kind)
        sure = surely_matches(plan.predicate, window, plan.kind) if below is None else pl.lit(value=False)
        small = len(plan.columns) * _CELL_BYTES * plan.estimate.rows <= self._column_bytes // 2
        symbols = plan.predicate.symbols
        symbol = ""
        if plan.refined and not small and len(symbols) == 1 and len(plan.pieces) <= _MOST_KEPT:
            symbol = symbols[0]
        again = pl.lit(small)
        edges = Window() if symbol else window
        if edges.from_us is not None:
            again = again | (pl.col("timestamp_min") < edges.from_us)
        if edges.to_us is not None:
            again = again | (pl.col("timestamp_max") >= edges.to_us)
        marks = {"sure": sure, "keep": again.fill_null(value=False)}
        if plan.refined:
            lazy = plan.pieces.lazy().filter(lies).with_columns(**marks)
            yield from _packed(lazy, plan.columns, compared, symbol)
            return
        for files in plan.pieces.filter(lies).iter_slices(_FOOTERS_AT_ONCE):
            groups = self._row_groups(plan.kind, plan.table, files, matches & lies)
            yield from _packed(groups.lazy().with_columns(**marks), plan.columns, compared)


def _ahead(
    begin: Callable[[T], Callable[[], R]], items: Iterator[T], at_a_time: int
) -> Iterator[tuple[T, R]]:
    """Each item with what it came to, in order; some are begun before it is their turn."""
    begun = deque((item, begin(item)) for item in islice(items, at_a_time))
    while begun:
        item, result = begun.popleft()
        found = result()
        begun.extend((item, begin(item)) for item in islice(items, 1))
        yield item, found


def _packed(
    groups: pl.LazyFrame, given: tuple[str, ...], compared: tuple[str, ...], symbol: str = ""
) -> Iterator[Part]:
    """Row groups in order, as many of one file in a part as are decoded in one go."""
    packed: list[Group] = []
    path, size_bytes, held = "", 0, 0
    names = ("path", "size_bytes", "rows", "group", "sure", "keep")
    for next_path, next_size, rows, number, sure, keep in groups.select(names).collect().iter_rows():
        if packed and (next_path != path or held + rows > _PART_ROWS):
            yield Part(path, size_bytes, tuple(packed))
            packed, held = [], 0
        path, size_bytes = next_path, next_size
        packed.append(Group(number, given if sure else compared, sure, keep, symbol))
        held += rows
    if packed:
        yield Part(path, size_bytes, tuple(packed))


def _matching(frames: list[pl.DataFrame], keep: pl.Expr, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Matching rows as one frame, unless there are none."""
    if frames:
        found = pl.concat(frames).lazy().filter(keep).select(columns).collect()
        if len(found):
            yield found
