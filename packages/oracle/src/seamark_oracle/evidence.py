"""Where evidence comes from: the log, and one pinned state of a table. Tests hand in their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


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

    def topic(self, name: str) -> Topic | None:
        """The topic, or None if there is none of that name."""
        ...

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[LogRecord]:
        """All records at `first` <= offset < `end`, in order. Raises OracleError."""
        ...


class DataFile(Protocol):
    """A Parquet file of the snapshot."""

    @property
    def record_count(self) -> int: ...

    def fetch(self, target: Path) -> Path:
        """The file on this machine: `target`, or where it lies anyway."""
        ...


@dataclass(frozen=True, slots=True)
class PinnedTable:
    """One load of a table: properties and files belong together."""

    properties: Mapping[str, str]
    snapshot_id: int | None
    files: Sequence[DataFile]
    delete_files: int


class Lake(Protocol):
    """The tables of a namespace."""

    def pin(self, table: str) -> PinnedTable | None:
        """The table now, or None if there is none of that name."""
        ...
