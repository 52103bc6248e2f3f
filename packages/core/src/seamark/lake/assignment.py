"""May this partition be read into this table? What must agree before anything is read.

Writer and tail both ask; a difference is a new stream, which only an operator declares.
"""

from __future__ import annotations

from seamark.lake.checkpoint import StreamPartition
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


def check_end(where: StreamPartition, topic: TopicPartition, position: int, bounds: Bounds) -> None:
    """Hold H against the log's end: behind a truncation other records take the same offsets.

    Raises:
        Stopped: H is above the end.
    """
    if position > bounds.end:
        raise Stopped(
            f"{topic.topic}-{topic.partition}: H was {position}, the log ends at {bounds.end}: "
            f"the log was truncated. Way on: adopt {topic.topic} --succeeds {where.stream_id}"
        )
