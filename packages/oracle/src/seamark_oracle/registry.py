"""What a table's properties say of the log: streams, checkpoints, excluded ranges."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from seamark_oracle.errors import OracleError

COUNTERS = ("written", "duplicate", "dlq", "shed", "lost")

Partition = tuple[int, int]
"""(stream id, partition)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One life of a topic."""

    stream_id: int
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


def read_registry(properties: Mapping[str, str]) -> Registry:
    """The claims in a table's properties. Raises OracleError where they cannot be read."""
    streams, checkpoints = {}, {}
    excluded: dict[Partition, tuple[range, ...]] = {}
    try:
        for name, text in properties.items():
            match name.split("."):
                case ["seamark", "stream", stream_id]:
                    entry = json.loads(text)
                    streams[int(stream_id)] = Stream(
                        int(stream_id),
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
        for stream, partition, first, next_offset, _cause, _revision in json.loads(
            properties.get("seamark.excluded") or "[]"
        ):
            where = (stream, partition)
            excluded[where] = (*excluded.get(where, ()), range(first, next_offset))
    except (ValueError, KeyError, TypeError) as error:
        raise OracleError(f"table properties cannot be read: {error!r}") from error
    # Ids are given in ascending order, and a stream succeeds only one that was there before.
    return Registry(dict(sorted(streams.items())), checkpoints, excluded)
