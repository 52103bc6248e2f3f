"""What must become of every record, derived from the raw log alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from seamark_oracle.columns import Inserter
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type, asset_class_of
from seamark_oracle.evidence import Log
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown
from seamark_oracle.occurrence import Occurrence, QuoteOccurrence, TradeOccurrence
from seamark_oracle.registry import Registry, Stream


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
    """History of one partition below the offset where the log begins."""

    append_us: int
    """Greatest kafka_timestamp."""
    rows: Iterable[Accepted]
    """In offset order; none for tables without first occurrence."""


@dataclass(frozen=True, slots=True)
class PartitionBounds:
    """What of one partition could be judged."""

    stream_id: int
    partition: int
    start: int
    proven_from: int
    """First offset that the log still has; below it rows are taken as they are."""
    next: int
    """H, as the table claims it; `start` where it claims nothing."""
    append_us: int
    """Running maximum of the append time below `next`."""
    records_absent: int
    """Offsets of [proven_from, next) outside excluded ranges that the log does not have."""


def derive(
    table: str,
    log: Log,
    registry: Registry,
    past: Callable[[int, int, int], Past],
    expected: Inserter,
) -> list[PartitionBounds]:
    """Reads every stream of `table` and writes one row per record to `expected`.

    Its columns: POSITION, FATE, the record's fields (null where refused or unread).
    `past(stream_id, partition, below_offset)` answers for what the log no longer has.
    """
    memories: dict[int, list[dict[Key, Occurrence]]] = {}
    bounds = []
    closed = {stream.succeeds for stream in registry.streams.values()}
    for stream in registry.streams.values():
        inherited: dict[Key, Occurrence] = {}
        if stream.succeeds is not None:
            # A symbol has one partition, so the parts hold different keys.
            for part in memories.pop(stream.succeeds, []):
                inherited |= part
        found = log.topic(stream.topic)
        ranges = found.ranges if found and found.topic_id == stream.topic_id else {}
        memories[stream.stream_id] = []
        for partition, start in enumerate(stream.start):
            checkpoint = registry.checkpoints.get((stream.stream_id, partition))
            next_offset = checkpoint.next if checkpoint else start
            low, end = ranges.get(partition, (next_offset, next_offset))
            if stream.stream_id in closed:
                end = min(end, next_offset)
            reading = _Partition(table, stream, partition, next_offset, registry, inherited)
            proven_from = max(start, min(low, next_offset))
            if proven_from > start:
                reading.resume(past(stream.stream_id, partition, proven_from))
            seen = 0
            for row in reading.rows(log, max(start, low), end):
                seen += row[2] < next_offset and row[len(POSITION)] != Fate.EXCLUDED.value
                expected.add(row)
            due = sum(len(piece) for piece in _between(reading.excluded, proven_from, next_offset))
            bounds.append(
                PartitionBounds(
                    stream.stream_id,
                    partition,
                    start,
                    proven_from,
                    next_offset,
                    reading.append_us,
                    due - seen,
                )
            )
            memories[stream.stream_id].append(reading.memory)
        memories[stream.stream_id].append(inherited)  # keys that did not come again
    return bounds


class _Partition:
    """The fold over one partition of one stream."""

    def __init__(
        self,
        table: str,
        stream: Stream,
        partition: int,
        next_offset: int,
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
        self._stream, self._partition, self._next = stream, partition, next_offset
        self._asset_class = asset_class_of(stream.topic)
        self.append_us = 0
        self._inherited = inherited
        self.excluded = registry.excluded.get((stream.stream_id, partition), ())
        self.memory: dict[Key, Occurrence] = {}

    def resume(self, past: Past) -> None:
        """Begins with what history says of the part that the log no longer has."""
        self.append_us = past.append_us
        for row in past.rows:
            self._occurrence(row.key).remember(row.number, row.time_us, row.epoch)

    def rows(self, log: Log, first: int, end: int) -> Iterator[list[Any]]:
        """One expected row for each record."""
        stuck = False
        for offset, append_ms, value in log.read(self._stream.topic, self._partition, first, end):
            epoch: int | None = 0
            try:
                values = self._blank if stuck else self._reader.read(value)
                fate = Fate.STUCK if stuck else Fate.ROW
            except Refused:
                values, fate = self._blank, Fate.REFUSED
            except SchemaUnknown:
                values, fate, stuck = self._blank, Fate.STUCK, True
            if offset >= self._next:
                fate = Fate.WAITING
            elif any(offset in gap for gap in self.excluded):
                fate = Fate.EXCLUDED
            else:
                self.append_us = max(self.append_us, append_ms * 1000)
                if fate is Fate.ROW and self._numbered:
                    key = tuple(values[at] for at in self._key)
                    epoch = self._occurrence(key).judge(values[self._number], values[self._time])
                    if epoch is None:
                        fate = Fate.DUPLICATE
            yield [
                self._stream.stream_id,
                self._partition,
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


def _between(excluded: tuple[range, ...], first: int, end: int) -> list[range]:
    """[first, end) without the excluded ranges."""
    pieces = []
    for gap in sorted(excluded, key=lambda gap: gap.start):
        pieces.append(range(first, min(gap.start, end)))
        first = max(first, gap.stop)
    return [piece for piece in (*pieces, range(first, end)) if piece]
