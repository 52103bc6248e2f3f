"""The stream registry of a table: which topics its rows come from, one life of a topic at a time.

A stream is one topic id of one cluster with one routing. A re-created topic, a truncated
log, other tiers for known symbols or another partition count are a new stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from seamark.lake.errors import CheckpointInvalid

_STREAM = "seamark.stream."
NEXT_STREAM_ID = "seamark.next_stream_id"
"""Property that outlives registry entries: a rollback may remove those, ids are still not used again."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A registry entry. Written only by adopt; ids are never used again."""

    stream_id: int
    cluster_id: str
    topic_id: str
    topic: str
    partitions: int
    start: tuple[int, ...]
    """First offset of each partition that the table takes in."""
    routing: str
    """The routing record as canonical JSON."""
    routing_hash: str
    succeeds: int | None = None
    """The stream whose states this one began with; that one takes no more rows."""

    def __post_init__(self) -> None:
        if len(self.start) != self.partitions:
            raise ValueError(
                f"start had {len(self.start)} offsets, must have {self.partitions}, one a partition"
            )

    def to_property(self) -> tuple[str, str]:
        """(property name, JSON text)."""
        return f"{_STREAM}{self.stream_id}", json.dumps(
            {
                "cluster_id": self.cluster_id,
                "topic_id": self.topic_id,
                "topic": self.topic,
                "partitions": self.partitions,
                "start": list(self.start),
                "succeeds": self.succeeds,
                "routing": self.routing,
                "routing_hash": self.routing_hash,
            },
            separators=(",", ":"),
        )


def streams_from_properties(properties: Mapping[str, str]) -> dict[int, Stream]:
    """The registry among a table's properties.

    Raises:
        CheckpointInvalid: an entry cannot be read.
    """
    found = {}
    for name, text in properties.items():
        if not name.startswith(_STREAM):
            continue
        try:
            stream_id = int(name[len(_STREAM) :])
            document = json.loads(text)
            document["start"] = tuple(document["start"])
            found[stream_id] = Stream(stream_id=stream_id, **document)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointInvalid(f"table property {name} was {text!r}: {error!r}") from error
    return found


def chain(streams: Mapping[int, Stream], stream_id: int) -> tuple[int, ...]:
    """Ids of the stream and all it succeeds, oldest first: first occurrence holds over all of them."""
    ids: list[int] = []
    at: int | None = stream_id
    while at is not None:
        if at in ids or at not in streams:
            raise CheckpointInvalid(
                f"stream {stream_id} succeeds {at}, which must be an older registry entry"
            )
        ids.append(at)
        at = streams[at].succeeds
    return tuple(reversed(ids))


def open_streams(streams: Mapping[int, Stream]) -> dict[int, Stream]:
    """Streams that take rows: those that none succeeds."""
    closed = {stream.succeeds for stream in streams.values()}
    return {stream_id: stream for stream_id, stream in streams.items() if stream_id not in closed}
