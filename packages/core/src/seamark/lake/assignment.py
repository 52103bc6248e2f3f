"""May this partition be read into this table? What must agree before anything is read.

Writer and tail both ask; a difference is a new stream, which only an operator declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.streams import Stream
from seamark.lake.view import TableView
from seamark.stream.errors import Stopped
from seamark.stream.log import Bounds, Cluster, TopicPartition


def place_of(view: TableView, table: str, cluster: Cluster, topic: TopicPartition) -> StreamPartition:
    """The stream's partition that a topic's partition is, in the table as `view` saw it.

    Raises:
        Stopped: no stream for the topic, another topic id, a partition too many, no checkpoint.
        LogUnavailable: the cluster does not answer.
    """
    stream = view.stream_of(topic.topic)
    if stream is None:
        raise Stopped(
            f"table {table} has no open stream for topic {topic.topic}. Way on: adopt {topic.topic}"
        )
    check_topic(cluster, stream)
    if topic.partition >= stream.partitions:
        raise Stopped(
            f"topic {topic.topic}: partition {topic.partition} is new, stream {stream.stream_id} has "
            f"{stream.partitions}. Way on: adopt {topic.topic} --succeeds {stream.stream_id}"
        )
    where = StreamPartition(stream.stream_id, topic.partition)
    if where not in view.checkpoints:
        raise Stopped(f"table {table} has no checkpoint property for {where}; it never means 0")
    return where


def check_topic(cluster: Cluster, stream: Stream) -> None:
    """Hold the topic's id against the stream's: a re-created topic numbers other records alike.

    Raises:
        Stopped: they differ, or there is no such topic any more.
    """
    actual = cluster.topic_id(stream.topic)
    if actual is None:
        raise Stopped(
            f"topic {stream.topic} is not in the cluster, stream {stream.stream_id} was read from its id "
            f"{stream.topic_id}: the topic was deleted. Way on: init makes it anew, then adopt {stream.topic} "
            f"--succeeds {stream.stream_id} --lost"
        )
    if actual != stream.topic_id:
        raise Stopped(
            f"topic {stream.topic}: id was {actual}, stream {stream.stream_id} has {stream.topic_id}: the topic "
            f"was re-created. Way on: adopt {stream.topic} --succeeds {stream.stream_id} --lost"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A partition's log, as it was found for a checkpoint."""

    bounds: Bounds
    epoch: int | None
    """Leader epoch of the record at H − 1; None where the log has no such record, or none was asked for."""


def find_logs(cluster: Cluster, points: Mapping[TopicPartition, Checkpoint]) -> dict[TopicPartition, Found]:
    """What `check_log` asks of each partition's log: all their records at once, for a rebalance waits for it.

    Raises:
        LogUnavailable: the cluster does not answer.
        Stopped: a topic may not be read.
    """
    bounds = {topic: cluster.bounds(topic) for topic in points}
    below = {topic: point.next - 1 for topic, point in points.items() if _compared(point, bounds[topic])}
    epochs = cluster.epochs_at(below) if below else {}
    for topic in below.keys() - epochs.keys():
        bounds[topic] = cluster.bounds(topic)  # it may have moved between the two questions
    return {topic: Found(bounds[topic], epochs.get(topic)) for topic in points}


def check_log(where: StreamPartition, topic: TopicPartition, point: Checkpoint, found: Found) -> None:
    """Hold a checkpoint against the log: behind a truncation other records take the same offsets.

    H may lie within the log again when that is asked. A leader epoch writes an offset once, so the
    record at H − 1 is the one that was read if and only if it has the epoch that it had. Kafka's
    client asks the like of a broker, but only when the leader changes while it reads.

    Raises:
        Stopped: H is above the end, or the record at H − 1 is another one.
    """
    at = f"{topic.topic}-{topic.partition}"
    way_on = f"the log was truncated. Way on: adopt {topic.topic} --succeeds {where.stream_id}"
    bounds = found.bounds
    if point.next > bounds.end:
        raise Stopped(f"{at}: H was {point.next}, the log ends at {bounds.end}: {way_on}")
    if not _compared(point, bounds) or found.epoch == point.leader_epoch:
        return
    if found.epoch is None:
        # It was read once, so a log that is only appended to has it. Whatever removed it (a truncation
        # with a transaction's marker in its place, compaction) breaks the contract, and to stop loses nothing.
        raise Stopped(
            f"{at}: H was {point.next}, the log has offsets {bounds.start} to {bounds.end - 1} but none at "
            f"{point.next - 1}: {way_on}"
        )
    raise Stopped(
        f"{at}: H was {point.next}, the record below it has leader epoch {found.epoch}, must have "
        f"{point.leader_epoch} as when it was read: {way_on}"
    )


def _compared(point: Checkpoint, bounds: Bounds) -> bool:
    # No epoch is known at a stream's start, nor where what was lost lies below H.
    return point.leader_epoch >= 0 and bounds.start < point.next <= bounds.end
