"""Adopt: take a topic's life into a table's registry, or a table as its head is now.

The only place where registry entries are written. Everything goes into one commit that adds
an empty snapshot and sets all checkpoint properties of the stream: a missing property is an
error for every reader, never 0.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from dataclasses import dataclass

from seamark.consumer_writer.decide import summary_of
from seamark.lake import checkpoint, excluded
from seamark.lake.checkpoint import Checkpoint, ExcludedRange, StreamPartition
from seamark.lake.errors import CommitConflict, CommitUnknown
from seamark.lake.foreign import FOREIGN
from seamark.lake.states import StateStore, restore
from seamark.lake.streams import NEXT_STREAM_ID, Stream
from seamark.lake.view import Change, LakeTable, TableView
from seamark.market.routing import Routing
from seamark.market.schema import RecordKind
from seamark.sequencing.reroute import reroute
from seamark.sequencing.state import PartitionState, dump
from seamark.stream.errors import Stopped
from seamark.stream.log import Bounds, Cluster, TopicPartition

logger = logging.getLogger(__name__)

UNKNOWN_END = -1
"""`next` of a lost range whose log is gone: nobody can say how far it went."""
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an adoption did."""

    stream: Stream
    revision: int


def adopt(
    table: LakeTable,
    store: StateStore,
    cluster: Cluster,
    kind: RecordKind,
    topic: str,
    routing: Routing,
    succeeds: int | None = None,
    lost: bool = False,
    only_if_empty: bool = False,
) -> Adopted | None:
    """Register `topic` as a new stream of `table`; None where `only_if_empty` and it has any.

    `succeeds`: the stream it follows, whose states it begins with. Refused unless all of that
    stream's records are in the table, or `lost`, which records what is not as a lost range.

    Raises:
        Stopped: the topic, the registry or H do not allow it; the message says what would.
        CatalogUnavailable, LogUnavailable
    """
    sent: Stream | None = None
    for _ in range(_ATTEMPTS):
        view = table.load()
        # The id alone does not tell: another adoption may have taken it in between.
        if sent is not None and view.streams.get(sent.stream_id) == sent:
            return Adopted(sent, view.revision)  # an attempt without an answer had landed
        if only_if_empty and view.streams:
            return None
        if (reason := view.rolled_back()) is not None:
            raise Stopped(f"rolled_back: {reason}. Way on: adopt --at-snapshot {view.head_id}")
        plan = _plan(view, cluster, kind, topic, routing, succeeds, lost)
        sent = plan.stream
        states = _seed(table, view, store, kind, plan.stream, succeeds)
        change = _change(view, store, plan, states)
        try:
            table.commit(view, change)
        except (CommitConflict, CommitUnknown):
            time.sleep(0.1)
            continue
        return Adopted(plan.stream, view.revision + 1)
    raise Stopped(
        f"adopting {topic} met {_ATTEMPTS} conflicts: stop the other writers of the table and try again"
    )


def adopt_at_snapshot(table: LakeTable, snapshot_id: int) -> int:
    """Take a table as its head is: rolled back, changed by others, or both.

    `snapshot_id` must be the head, named by the operator. The properties are set to what the
    nearest own summary says: after a rollback H goes back with it, the log is read again from
    there, and registry entries made later are removed. Rows that others added or removed stay so
    and are vouched for by the operator from then on: the mark of them goes. Gives the new revision.

    Raises:
        Stopped: the snapshot is not the head, or no writer's snapshot is behind it.
    """
    sent: str | None = None
    for _ in range(_ATTEMPTS):
        view = table.load()
        head = view.own_summary(view.head_id)
        if sent is not None and head is not None and head.checkpoint_text == sent:
            return view.revision  # an attempt without an answer had landed
        if view.head_id != snapshot_id:
            raise Stopped(f"snapshot was {snapshot_id}, must be the head {view.head_id}")
        own = view.own_summary(snapshot_id)
        if own is None or own.checkpoint_text is None:
            raise Stopped(
                f"snapshot {snapshot_id} has no writer's snapshot behind it to take checkpoints from"
            )
        points, _ = checkpoint.from_summary(own.checkpoint_text)
        revision = view.revision + 1
        text = own.excluded_text or ""
        known = {where.stream_id for where in points}
        gone = [checkpoint.property_name(where) for where in view.checkpoints if where not in points]
        gone += [
            stream.to_property()[0] for stream_id, stream in view.streams.items() if stream_id not in known
        ]
        if not text and checkpoint.EXCLUDED in view.properties:
            gone.append(checkpoint.EXCLUDED)
        properties = checkpoint.to_properties(points, view.uuid)
        properties[checkpoint.REVISION] = str(revision)
        if text:
            properties[checkpoint.EXCLUDED] = text
        if FOREIGN in view.properties:
            gone.append(FOREIGN)
        if foreign := view.foreign(snapshot_id):
            logger.warning("adopting foreign changes as they are", extra={"snapshots": str(foreign)})
        summary = summary_of(points, revision, text, "")
        sent = summary[checkpoint.SUMMARY]
        try:
            table.commit(view, Change(properties, summary, drop_properties=tuple(gone)))
        except (CommitConflict, CommitUnknown):
            time.sleep(0.1)
            continue
        return revision
    raise Stopped(
        f"adopting snapshot {snapshot_id} met {_ATTEMPTS} conflicts: stop the writers and try again"
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    stream: Stream
    excluded: tuple[ExcludedRange, ...]


def _plan(
    view: TableView,
    cluster: Cluster,
    kind: RecordKind,
    topic: str,
    routing: Routing,
    succeeds: int | None,
    lost: bool,
) -> _Plan:
    topic_id = cluster.topic_id(topic)
    if topic_id is None:
        raise Stopped(f"topic {topic} is not in the cluster")
    partitions = cluster.partitions(topic)
    if routing.topic != topic or routing.partitions != partitions:
        raise Stopped(
            f"routing was for {routing.partitions} partitions of {routing.topic}, topic {topic} has {partitions}"
        )
    current = view.stream_of(topic)
    if current is not None and current.stream_id != succeeds:
        raise Stopped(
            f"topic {topic} is stream {current.stream_id} already. Way on: --succeeds {current.stream_id}"
        )
    bounds = [cluster.bounds(TopicPartition(topic, partition)) for partition in range(partitions)]
    starts = [bound.start for bound in bounds]
    excluded: tuple[ExcludedRange, ...] = ()
    if succeeds is not None:
        if succeeds not in view.streams:
            raise Stopped(f"--succeeds was {succeeds}, must be one of {sorted(view.streams)}")
        old = view.streams[succeeds]
        starts, excluded = _continued(view, old, topic_id, bounds, routing, lost)
    stream = Stream(
        stream_id=view.next_stream_id,
        cluster_id=cluster.cluster_id(),
        topic_id=topic_id,
        topic=topic,
        partitions=partitions,
        start=tuple(starts),
        routing=routing.to_json(),
        routing_hash=routing.hash,
        succeeds=succeeds,
    )
    return _Plan(stream, excluded)


def _continued(
    view: TableView, old: Stream, topic_id: str, bounds: list[Bounds], routing: Routing, lost: bool
) -> tuple[list[int], tuple[ExcludedRange, ...]]:
    """(where each partition of the succeeding stream begins, what of the old one is not in the table).

    Another topic: at its log's start; how far the old log went, nobody can say any more.
    The same topic and routing: the log was truncated. Nobody knows where the new records begin
    either, so all is read again, and first occurrence turns the known records away.
    The same topic, other routing: behind the old records, each of which must be in the table,
    for read again they would be judged where their symbols' states are not.
    """
    revision = view.revision + 1
    reached = [
        (where, view.checkpoints[where].next)
        for where in (StreamPartition(old.stream_id, partition) for partition in range(old.partitions))
    ]
    starts = [bound.start for bound in bounds]
    if old.topic_id != topic_id:
        if not lost:
            raise Stopped(
                f"stream {old.stream_id} partition 0: H was {reached[0][1]}, the log's end is unknown: its topic "
                f"is gone. Way on: --lost to record what it still held as lost"
            )
        gone = [ExcludedRange(where, offset, UNKNOWN_END, "LOST", revision) for where, offset in reached]
        return starts, tuple(gone)
    if old.routing_hash == routing.hash:
        return starts, ()
    missing = []
    for where, offset in reached:
        end = bounds[where.partition].end
        if offset > end:
            raise Stopped(
                f"stream {old.stream_id} partition {where.partition}: H was {offset}, the log ends at {end}: it was "
                f"truncated, and the routing differs. Way on: adopt with the routing {old.routing_hash[:12]} first"
            )
        if offset < end and not lost:
            raise Stopped(
                f"stream {old.stream_id} partition {where.partition}: H was {offset}, the log ends at {end}. Way on: "
                f"let the writer reach the end, or --lost to record the rest as lost"
            )
        starts[where.partition] = end
        if offset < end:
            missing.append(ExcludedRange(where, offset, end, "LOST", revision))
    return starts, tuple(missing)


def _seed(
    table: LakeTable,
    view: TableView,
    store: StateStore,
    kind: RecordKind,
    stream: Stream,
    succeeds: int | None,
) -> list[PartitionState]:
    if succeeds is None:
        return [PartitionState() for _ in range(stream.partitions)]
    old = [StreamPartition(succeeds, partition) for partition in range(view.streams[succeeds].partitions)]
    states = restore(table, view, store, kind, old, lambda where, reason: None)
    routing = Routing.from_json(stream.routing)
    return reroute(states.values(), stream.partitions, routing.partition_of)


def _change(view: TableView, store: StateStore, plan: _Plan, states: list[PartitionState]) -> Change:
    stream = plan.stream
    batch_id = hashlib.sha256(f"adopt;{stream.stream_id};{uuid.uuid4()}".encode()).hexdigest()[:20]
    points = {
        StreamPartition(stream.stream_id, partition): Checkpoint(start, -1, batch_id, 1, 0)
        for partition, start in enumerate(stream.start)
    }
    name = next(iter(points.values())).state_name(view.uuid)
    store.put(name, dump({str(where): state for where, state in zip(points, states, strict=True)}))
    revision = view.revision + 1
    text = view.excluded_text
    if plan.excluded:
        text = excluded.with_more(text, plan.excluded, revision, view.uuid, store)
    properties = checkpoint.to_properties(points, view.uuid)
    properties.update([stream.to_property(), (checkpoint.REVISION, str(revision))])
    properties[NEXT_STREAM_ID] = str(stream.stream_id + 1)
    if text:
        properties[checkpoint.EXCLUDED] = text
    mark = view.foreign(view.head_id).to_text()
    if mark:
        properties[FOREIGN] = mark
    return Change(properties, summary_of({**view.checkpoints, **points}, revision, text, mark))
