"""The checkpoint: what a table says of the log that it holds, per (stream, partition).

It is kept twice: one property per partition (the compare side of the range-CAS), and a
compact copy in each snapshot's summary, because properties do not roll back with a branch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from seamark.lake.errors import CheckpointInvalid

REVISION = "seamark.revision"
EXCLUDED = "seamark.excluded"
EXCLUDED_FILE = "file:"
"""Before the name of a file in the state store, where the ranges are too many for a property."""
SUMMARY = "seamark.checkpoint"
_CHECKPOINT = "seamark.checkpoint."


class StreamPartition(NamedTuple):
    """One partition of one stream; H, E, cursors and the oracle are keyed by it."""

    stream_id: int
    partition: int

    def __str__(self) -> str:
        return f"{self.stream_id}.{self.partition}"


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of the offsets below H, cumulative since the stream's start."""

    written: int = 0
    duplicate: int = 0
    dlq: int = 0
    shed: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        return self.written + self.duplicate + self.dlq + self.shed + self.lost

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.written + other.written,
            self.duplicate + other.duplicate,
            self.dlq + other.dlq,
            self.shed + other.shed,
            self.lost + other.lost,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`{next, leader_epoch, batch_id, counters, state}` of one partition at a commit."""

    next: int
    """H: offset behind the last record that is decided."""
    leader_epoch: int
    """Kafka leader epoch of the record below `next`; -1 where none was read."""
    batch_id: str
    """The batch whose commit set this."""
    attempt: int
    """Which attempt of the batch landed."""
    append_us: int
    """Running maximum of the append time below `next`, microseconds."""
    counters: Counters = Counters()

    def state_name(self, table_uuid: str) -> str:
        """Name of the state file below the state folder."""
        return f"{table_uuid}/{self.batch_id}/{self.attempt}"

    def advanced(self, next_offset: int, leader_epoch: int, append_us: int, counters: Counters) -> Checkpoint:
        """This checkpoint moved on; the caller names batch and attempt when it commits."""
        return replace(
            self,
            next=next_offset,
            leader_epoch=leader_epoch,
            append_us=append_us,
            counters=self.counters + counters,
        )

    def check_accounts(self, where: StreamPartition, start: int) -> None:
        """Raise CheckpointInvalid unless next − start = written + duplicate + dlq + shed + lost."""
        if self.next - start != self.counters.total:
            raise CheckpointInvalid(
                f"checkpoint {where}: next {self.next} − start {start} = {self.next - start}, "
                f"must equal the sum of {self.counters}"
            )


def property_name(where: StreamPartition) -> str:
    return f"{_CHECKPOINT}{where}"


def to_properties(checkpoints: Mapping[StreamPartition, Checkpoint], table_uuid: str) -> dict[str, str]:
    """Table properties that carry `checkpoints`."""
    return {
        property_name(where): json.dumps(
            {
                "next": point.next,
                "leader_epoch": point.leader_epoch,
                "batch_id": point.batch_id,
                "written": point.counters.written,
                "duplicate": point.counters.duplicate,
                "dlq": point.counters.dlq,
                "shed": point.counters.shed,
                "lost": point.counters.lost,
                "kafka_timestamp_us": point.append_us,
                "state": point.state_name(table_uuid),
            },
            separators=(",", ":"),
        )
        for where, point in checkpoints.items()
    }


def from_properties(properties: Mapping[str, str]) -> dict[StreamPartition, Checkpoint]:
    """The checkpoints among a table's properties.

    Raises:
        CheckpointInvalid: one cannot be read.
    """
    found = {}
    for name, text in properties.items():
        if not name.startswith(_CHECKPOINT):
            continue
        try:
            stream_id, partition = name[len(_CHECKPOINT) :].split(".")
            document = json.loads(text)
            found[StreamPartition(int(stream_id), int(partition))] = Checkpoint(
                next=_whole(document["next"]),
                leader_epoch=_whole(document["leader_epoch"]),
                batch_id=_text(document["batch_id"]),
                attempt=int(document["state"].rsplit("/", 1)[1]),
                append_us=_whole(document["kafka_timestamp_us"]),
                counters=Counters(*(_whole(document[name]) for name in _COUNTERS)),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise CheckpointInvalid(f"table property {name} was {text!r}: {error!r}") from error
    return found


_COUNTERS = ("written", "duplicate", "dlq", "shed", "lost")


def _whole(value: object) -> int:
    # A number as text would compare unequal to every offset and fence the writer for ever.
    if type(value) is not int:
        raise TypeError(f"{value!r} must be a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} must be text")
    return value


def to_summary(checkpoints: Mapping[StreamPartition, Checkpoint], revision: int) -> str:
    """Compact text for a snapshot's summary, under 100 bytes a partition: it is kept per snapshot.

    Numbers in base 36: in decimal a partition passes the 100 bytes near its 10^10th record.
    """
    parts = [_base_36(revision)]
    for where, point in sorted(checkpoints.items()):
        counts = point.counters
        before = (where.stream_id, where.partition, point.next, point.leader_epoch)
        behind = (point.attempt, point.append_us, *(getattr(counts, name) for name in _COUNTERS))
        parts.append(",".join((*map(_base_36, before), point.batch_id, *map(_base_36, behind))))
    return ";".join(parts)


def _base_36(number: int) -> str:
    return np.base_repr(number, 36).lower()


def from_summary(text: str) -> tuple[dict[StreamPartition, Checkpoint], int]:
    """(checkpoints, revision) of a snapshot.

    Raises:
        CheckpointInvalid: the text is not one that `to_summary` makes.
    """
    try:
        first, *parts = text.split(";")
        revision = int(first, 36)
        checkpoints = {}
        for part in parts:
            stream, partition, next_, epoch, batch_id, *rest = part.split(",")
            attempt, append_us, written, duplicate, dlq, shed, lost = (int(one, 36) for one in rest)
            checkpoints[StreamPartition(int(stream, 36), int(partition, 36))] = Checkpoint(
                int(next_, 36),
                int(epoch, 36),
                batch_id,
                attempt,
                append_us,
                Counters(written, duplicate, dlq, shed, lost),
            )
        return checkpoints, revision
    except ValueError as error:
        raise CheckpointInvalid(f"snapshot summary {SUMMARY} was {text!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class ExcludedRange:
    """Offsets below H that are not in history: shed (repairable) or lost."""

    where: StreamPartition
    first: int
    next: int
    cause: str
    """SHED or LOST."""
    revision: int
    """The table revision that the exclusion began with."""


def excluded_to_text(ranges: Iterable[ExcludedRange]) -> str:
    return json.dumps(
        [[r.where.stream_id, r.where.partition, r.first, r.next, r.cause, r.revision] for r in ranges],
        separators=(",", ":"),
    )


def excluded_from_text(text: str | None) -> tuple[ExcludedRange, ...]:
    if not text:
        return ()
    try:
        ranges = json.loads(text)
        if not isinstance(ranges, list):
            raise TypeError("must be a list")
        return tuple(
            ExcludedRange(
                StreamPartition(_whole(stream), _whole(partition)),
                _whole(first),
                _whole(next_),
                _text(cause),
                _whole(revision),
            )
            for stream, partition, first, next_, cause, revision in ranges
        )
    except (ValueError, TypeError) as error:
        raise CheckpointInvalid(f"table property {EXCLUDED} was {text!r}: {error}") from error
