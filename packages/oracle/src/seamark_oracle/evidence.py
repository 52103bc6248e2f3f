"""Where evidence comes from: the log, and one pinned state of a table. Tests hand in their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class LogRecord(NamedTuple):
    """A record of a partition."""

    offset: int
    append_ms: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it now."""

    topic_id: str
    ranges: Mapping[int, tuple[int, int]]
    """First offset kept and end offset, by partition."""


class Log(Protocol):
    """The raw log."""

    def cluster_id(self) -> str:
        """The cluster that it is of. Raises OracleError."""
        ...

    def topic(self, name: str) -> Topic | None:
        """The topic, or None if there is none of that name."""
        ...

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        """All records at `first` <= offset < `end`, in order. Raises OracleError."""
        ...


class Bound(NamedTuple):
    """What a manifest says of a column of a file: it decides whether readers open the file."""

    column: str
    least: Any
    greatest: Any
    """Both as DuckDB gives the column: times in microseconds, dates in days; None: not stated."""


class DataFile(Protocol):
    """A Parquet file of the snapshot."""

    @property
    def record_count(self) -> int: ...

    @property
    def bounds(self) -> Sequence[Bound]: ...

    def fetch(self, target: Path) -> Path:
        """The file on this machine: `target`, or where it lies anyway."""
        ...


@dataclass(frozen=True, slots=True)
class PinnedTable:
    """One load of a table: properties and files belong together."""

    properties: Mapping[str, str]
    summary: Mapping[str, str] | None
    """Of the nearest snapshot that a writer made; None where other than rewrites lie between."""
    files: Sequence[DataFile]
    field_ids: Mapping[str, int]
    """By column: readers find a file's columns by these."""
    delete_files: int


class Lake(Protocol):
    """The tables of a namespace."""

    def pin(self, table: str) -> PinnedTable | None:
        """The table now, or None if there is none of that name."""
        ...
