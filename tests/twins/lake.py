"""A table and a state store in memory, with the semantics of a catalog and all its bad answers."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc

from seamark.lake import checkpoint
from seamark.lake.errors import CatalogUnavailable, CommitConflict, CommitUnknown, StateMissing
from seamark.lake.foreign import FOREIGN
from seamark.lake.view import Change, SnapshotView, TableView


class Answer(Enum):
    """What a commit request meets."""

    OK = "ok"
    CONFLICT_BUT_LANDED = "applied, answered 409"
    UNKNOWN_BUT_LANDED = "applied, no answer"
    UNKNOWN = "not applied, no answer"
    DELAYED = "no answer, applied later if it still fits"
    UNAVAILABLE = "refused before it was read"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    view: SnapshotView
    files: tuple[pa.Table, ...]


@dataclass(slots=True)
class MemoryTable:
    """A `LakeTable`. `answer` decides what the next commit meets; tests set it."""

    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    properties: dict[str, str] = field(default_factory=dict)
    snapshots: dict[int, _Snapshot] = field(default_factory=dict)
    head: int | None = None
    tags: set[int] = field(default_factory=set)
    answer: Answer = Answer.OK
    delayed: list[tuple[TableView, Change]] = field(default_factory=list)
    clock_ms: int = 0
    parents: dict[int, int | None] = field(default_factory=dict)
    """Of every snapshot there ever was: expiry forgets none."""
    others: set[int] = field(default_factory=set)
    """Snapshots by which somebody else changed rows."""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def load(self) -> TableView:
        if self.answer is Answer.UNAVAILABLE:
            self.answer = Answer.OK
            raise CatalogUnavailable("the catalog is down")
        refs = {self.head, *self.tags} - {None}
        return TableView(
            uuid=self.uuid,
            head_id=self.head,
            properties=dict(self.properties),
            snapshots={number: snapshot.view for number, snapshot in self.snapshots.items()},
            referenced=frozenset(number for number in refs if number is not None),
            layout="0.0",
            handle=None,
        )

    def write_rows(self, view: TableView, rows: pa.Table) -> Sequence[pa.Table]:
        return [rows] if rows.num_rows else []

    def commit(self, view: TableView, change: Change) -> None:
        answer, self.answer = self.answer, Answer.OK
        if answer is Answer.UNKNOWN:
            raise CommitUnknown("the request was lost")
        if answer is Answer.UNAVAILABLE:
            raise CatalogUnavailable("the catalog is down")
        if answer is Answer.DELAYED:
            self.delayed.append((view, change))
            raise CommitUnknown("no answer yet")
        self.apply(view, change)
        if answer is Answer.CONFLICT_BUT_LANDED:
            raise CommitConflict("409, although it landed")
        if answer is Answer.UNKNOWN_BUT_LANDED:
            raise CommitUnknown("the answer was lost")

    def apply(self, view: TableView, change: Change) -> None:
        """The atomic step, with head and uuid requirements."""
        if view.uuid != self.uuid:
            raise CommitConflict("table uuid changed")
        if view.head_id != self.head:
            raise CommitConflict(f"head was {self.head}, required {view.head_id}")
        self.properties.update(change.properties)
        for name in change.drop_properties:
            self.properties.pop(name, None)
        self._add("append", tuple(change.files), change.summary)
        for number in change.expire:
            self.snapshots.pop(number, None)

    def arrive(self) -> None:
        """The oldest delayed request reaches the catalog; nobody hears its answer."""
        view, change = self.delayed.pop(0)
        try:
            self.apply(view, change)
        except CommitConflict:
            return

    def _add(self, operation: str, files: tuple[pa.Table, ...], summary: Mapping[str, str]) -> None:
        number = next(self._ids)
        self.clock_ms += 1
        before = self.snapshots[self.head].files if self.head is not None else ()
        view = SnapshotView(
            number,
            self.head,
            self.clock_ms,
            operation,
            summary.get(checkpoint.SUMMARY),
            summary.get(checkpoint.EXCLUDED),
            summary.get(FOREIGN),
        )
        kept = (*before, *files) if operation == "append" else files
        self.snapshots[number] = _Snapshot(view, kept)
        self.parents[number] = self.head
        self.head = number

    # What others do to the table

    def compact(self) -> None:
        """A `replace` snapshot: the same rows in one file."""
        assert self.head is not None
        files = self.snapshots[self.head].files
        merged = (pa.concat_tables(files),) if files else ()
        self._add("replace", merged, {})

    def foreign_append(self) -> None:
        """Somebody else's append, without rows of ours."""
        self._add("append", (), {})
        assert self.head is not None
        self.others.add(self.head)

    def roll_back(self, to: int) -> None:
        """The branch goes back; properties stay as they are."""
        self.head = to

    def rows(self) -> pa.Table | None:
        """All rows at the head; None where there are none."""
        files = self.snapshots[self.head].files if self.head is not None else ()
        return pa.concat_tables(files) if files else None

    def history(
        self, view: TableView, columns: Sequence[str], stream_ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        if view.head_id is None:
            return
        for file in self.snapshots[view.head_id].files:
            mask = pc.is_in(file["stream_id"], pa.array(stream_ids, pa.int32()))
            yield from file.filter(mask).select(list(columns)).to_batches()


@dataclass(slots=True)
class MemoryStates:
    """A `StateStore`."""

    files: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def get(self, name: str) -> bytes:
        if name not in self.files:
            raise StateMissing(f"no state file {name}")
        return self.files[name]

    def names(self, below: str) -> Sequence[str]:
        return [name for name in self.files if name.startswith(f"{below}/")]

    def delete(self, name: str) -> None:
        self.files.pop(name, None)
