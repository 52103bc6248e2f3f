"""What a table's properties say of the log: streams, checkpoints, excluded ranges."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from sys import maxsize

from seamark_oracle.errors import OracleError

COUNTERS = ("written", "duplicate", "dlq", "shed", "lost")

_UNKNOWN_END = -1
"""What an excluded range ends with where nobody knows how far its log went."""

Partition = tuple[int, int]
"""(stream id, partition)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One life of a topic."""

    stream_id: int
    cluster_id: str
    topic: str
    topic_id: str
    start: tuple[int, ...]
    succeeds: int | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a table claims of one partition."""

    next: int
    append_us: int
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Registry:
    """The claims of one table."""

    streams: Mapping[int, Stream]
    """By id, predecessors first."""
    checkpoints: Mapping[Partition, Checkpoint]
    excluded: Mapping[Partition, tuple[range, ...]]

    def not_excluded(self, where: Partition, offsets: range) -> list[range]:
        """What the excluded ranges leave of `offsets`."""
        pieces, first = [], offsets.start
        for gap in sorted(self.excluded.get(where, ()), key=lambda gap: gap.start):
            pieces.append(range(first, min(gap.start, offsets.stop)))
            first = max(first, gap.stop)
        return [piece for piece in (*pieces, range(first, offsets.stop)) if piece]


def read_registry(properties: Mapping[str, str]) -> Registry:
    """The claims in a table's properties. Raises OracleError where they cannot be read."""
    streams, checkpoints = {}, {}
    try:
        for name, text in properties.items():
            match name.split("."):
                case ["seamark", "stream", stream_id]:
                    entry = json.loads(text)
                    streams[int(stream_id)] = Stream(
                        int(stream_id),
                        entry["cluster_id"],
                        entry["topic"],
                        entry["topic_id"],
                        tuple(entry["start"]),
                        entry["succeeds"],
                    )
                case ["seamark", "checkpoint", stream_id, partition]:
                    entry = json.loads(text)
                    checkpoints[int(stream_id), int(partition)] = Checkpoint(
                        entry["next"],
                        entry["kafka_timestamp_us"],
                        {counter: entry[counter] for counter in COUNTERS},
                    )
        excluded = _excluded(properties)
    except (ValueError, KeyError, TypeError) as error:
        raise OracleError(f"table properties cannot be read: {error!r}") from error
    # Ids are given in ascending order, and a stream succeeds only one that was there before.
    return Registry(dict(sorted(streams.items())), checkpoints, excluded)


def read_summary(summary: Mapping[str, str]) -> tuple[Registry, int]:
    """(the claims in a snapshot's summary, which names no streams; the revision).

    Raises OracleError where they cannot be read.
    """
    try:
        revision, *parts = summary["seamark.checkpoint"].split(";")
        checkpoints = {}
        for part in parts:
            stream_id, partition, next_offset, _epoch, _batch, _attempt, append_us, *counts = part.split(",")
            counters = {name: int(count, 36) for name, count in zip(COUNTERS, counts, strict=True)}
            where = int(stream_id, 36), int(partition, 36)
            checkpoints[where] = Checkpoint(int(next_offset, 36), int(append_us, 36), counters)
        return Registry({}, checkpoints, _excluded(summary)), int(revision, 36)
    except (ValueError, KeyError, TypeError) as error:
        raise OracleError(f"snapshot summary cannot be read: {error!r}") from error


def _excluded(texts: Mapping[str, str]) -> dict[Partition, tuple[range, ...]]:
    excluded: dict[Partition, tuple[range, ...]] = {}
    for stream_id, partition, first, next_offset, _cause, _revision in json.loads(
        texts.get("seamark.excluded") or "[]"
    ):
        where = (stream_id, partition)
        last = maxsize if next_offset == _UNKNOWN_END else next_offset
        excluded[where] = (*excluded.get(where, ()), range(first, last))
    return excluded
