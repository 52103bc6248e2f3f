"""What must become of every record, derived from the raw log alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from seamark_oracle.columns import Inserter
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type, asset_class_of
from seamark_oracle.evidence import Log
from seamark_oracle.extents import Extent
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown
from seamark_oracle.occurrence import Occurrence, QuoteOccurrence, TradeOccurrence
from seamark_oracle.registry import Partition, Registry, Stream


class Fate(Enum):
    """What a record must have become."""

    ROW = "row"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    EXCLUDED = "excluded"
    STUCK = "at or behind an unknown schema"
    WAITING = "at or above the checkpoint"


POSITION = (
    Field("stream_id", Type.LONG),
    Field("kafka_partition", Type.LONG),
    Field("kafka_offset", Type.LONG),
    Field("kafka_timestamp", Type.MICROS),
    Field("id_epoch", Type.LONG),
    Field("repair_seq", Type.LONG),
    Field("asset_class", Type.TEXT),
)
"""What the writer adds to every row."""

FATE = Field("fate", Type.TEXT)
KEY = ("exchange", "market", "feed", "symbol")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A row of the lake whose record the log no longer has."""

    key: Key
    number: int
    time_us: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Past:
    """History of one partition over offsets that the log no longer has."""

    append_us: int
    """Greatest kafka_timestamp."""
    rows: Iterable[Accepted]
    """In offset order; none for tables without first occurrence."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What reading one partition came to."""

    extent: Extent
    append_us: int
    """Running maximum of the append time below H; of `unproven` offsets the rows alone are known."""
    records_absent: int
    """Offsets of `proven` outside excluded ranges that the log does not have."""


def derive(
    table: str,
    log: Log,
    registry: Registry,
    extents: Iterable[Extent],
    past: Callable[[Partition, range], Past],
    expected: Inserter,
) -> list[Derived]:
    """Reads the log of every extent of `table` and writes one row per record to `expected`.

    Its columns: POSITION, FATE, the record's fields (null where refused or unread).
    `past(partition, offsets)` answers for what the log no longer has.
    """
    memories: dict[int, list[dict[Key, Occurrence]]] = {}
    derived = []
    for stream_id, parts in groupby(extents, lambda extent: extent.stream_id):
        stream = registry.streams[stream_id]
        inherited: dict[Key, Occurrence] = {}
        if stream.succeeds is not None:
            # A symbol has one partition, so the parts hold different keys.
            for part in memories.pop(stream.succeeds, []):
                inherited |= part
        memories[stream_id] = []
        for extent in parts:
            reading = _Partition(table, stream, extent, registry, inherited)
            before = [gone for gone in extent.unproven if gone.offsets.start < extent.proven.start]
            for gone in before:
                reading.remember(past(extent.where, gone.offsets))
            seen = 0
            for row in reading.rows(log):
                seen += row[2] < extent.next and row[len(POSITION)] != Fate.EXCLUDED.value
                expected.add(row)
            for gone in extent.unproven[len(before) :]:
                reading.remember(past(extent.where, gone.offsets))
            due = sum(len(piece) for piece in registry.not_excluded(extent.where, extent.proven))
            derived.append(Derived(extent, reading.append_us, due - seen))
            memories[stream_id].append(reading.memory)
        memories[stream_id].append(inherited)  # keys that did not come again
    return derived


class _Partition:
    """The fold over one partition of one stream."""

    def __init__(
        self,
        table: str,
        stream: Stream,
        extent: Extent,
        registry: Registry,
        inherited: dict[Key, Occurrence],
    ) -> None:
        names = [field.name for field in RECORDS[table]]
        self._reader = RecordReader(table)
        self._blank: list[Any] = [None] * len(names)
        self._numbered = table in FEEDS
        if self._numbered:
            self._key = [names.index(name) for name in KEY]
            self._number, self._time = names.index("source_sequence"), names.index("timestamp")
        self._new = TradeOccurrence if table == "trades" else QuoteOccurrence
        self._stream, self._extent = stream, extent
        self._asset_class = asset_class_of(stream.topic)
        self.append_us = 0
        self._inherited = inherited
        self._excluded = registry.excluded.get(extent.where, ())
        self.memory: dict[Key, Occurrence] = {}

    def remember(self, past: Past) -> None:
        """Takes over what history says of offsets that the log no longer has."""
        self.append_us = max(self.append_us, past.append_us)
        for row in past.rows:
            self._occurrence(row.key).remember(row.number, row.time_us, row.epoch)

    def rows(self, log: Log) -> Iterator[list[Any]]:
        """One expected row for each record."""
        stuck = False
        stream_id, partition = self._extent.where
        offsets = self._extent.reading
        for offset, append_ms, value in log.read(self._stream.topic, partition, offsets.start, offsets.stop):
            epoch: int | None = 0
            excluded = any(offset in gap for gap in self._excluded)
            try:
                values = self._blank if stuck else self._reader.read(value)
                fate = Fate.STUCK if stuck else Fate.ROW
            except Refused:
                values, fate = self._blank, Fate.REFUSED
            except SchemaUnknown:
                # An excluded range goes past it unread.
                values, fate, stuck = self._blank, Fate.STUCK, not excluded
            if offset >= self._extent.next:
                fate = Fate.WAITING
            elif excluded:
                fate = Fate.EXCLUDED
            else:
                self.append_us = max(self.append_us, append_ms * 1000)
                if fate is Fate.ROW and self._numbered:
                    key = tuple(values[at] for at in self._key)
                    epoch = self._occurrence(key).judge(values[self._number], values[self._time])
                    if epoch is None:
                        fate = Fate.DUPLICATE
            yield [
                stream_id,
                partition,
                offset,
                self.append_us,
                epoch,
                0,
                self._asset_class,
                fate.value,
                *values,
            ]

    def _occurrence(self, key: Key) -> Occurrence:
        known = self.memory.get(key)
        if known is None:
            # Of one symbol only one new partition takes over what the old stream knew.
            known = self._inherited.pop(key) if key in self._inherited else self._new()
            self.memory[key] = known
        return known
