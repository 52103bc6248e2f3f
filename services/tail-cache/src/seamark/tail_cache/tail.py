"""The tail's one thread: fetch, judge, keep. Everything that changes the store happens here.

Others ask for changes with `submit`; they are made between two fetches. After a batch the thread
rests for half as long as that took, and for a moment at least: judging has a price by the batch,
and at the log's end there would be a batch for each record.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder
from seamark.stream.errors import Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.observe import Observed, Observer, Place
from seamark.tail_cache.blocks import resident
from seamark.tail_cache.partition import Differs, PartitionTail, Stop
from seamark.tail_cache.source import Beginning, Source, Start
from seamark.tail_cache.store import Store
from seamark.telemetry.metrics import TailMetrics

logger = logging.getLogger(__name__)

_POLL_RECORDS = 20_000
_BEHIND_RECORDS = 4_000
"""A batch of so many comes from behind the log's end: the next follows at once."""
_BETWEEN_SECONDS = 0.004
"""From the beginning of one batch to that of the next, at least."""
_REST = 0.5
"""Rest after a batch, in parts of the time it took."""
_IDLE_SECONDS = 0.05
_UPKEEP_SECONDS = 0.1


class Tail:
    """Holds partitions of all tables. `run` is its thread; `submit` is for all others."""

    def __init__(
        self,
        source: Source,
        store: Store,
        metrics: TailMetrics,
        decoders: Mapping[RecordKind, Decoder],
        published: Callable[[], None],
    ) -> None:
        """`published` is called, in the tail's thread, when readers may see more than before."""
        self._source = source
        self._store = store
        self._metrics = metrics
        self._published = published
        self._each_second: Callable[[], None] = lambda: None
        self._observers = {kind: Observer(kind, decoder) for kind, decoder in decoders.items()}
        self._read: dict[TopicPartition, tuple[RecordKind, PartitionTail]] = {}
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._upkeep_at = self._second_at = 0.0
        self._paused = False

    def submit(self, change: Callable[[], None]) -> None:
        """Have one of the methods below called in the tail's thread, soon."""
        self._asked.put(change)

    def each_second(self, call: Callable[[], None]) -> None:
        """Have this called in the tail's thread, once a second. Before `run`."""
        self._each_second = call

    # Changes

    def begin(self, kind: RecordKind, beginnings: Sequence[Beginning]) -> None:
        """Hold partitions from H on, in place of what was held of them."""
        starts = {}
        for one in beginnings:
            tail = PartitionTail(
                one.where,
                one.topic,
                one.committed,
                one.first,
                one.first,
                one.state.append_us,
                one.end,
                one.end,
                one.end_as_of_us,
            )
            self._store.add(kind, tail)
            epoch = one.committed.leader_epoch if one.first == one.committed.next else -1
            self._observers[kind].begin(Place(one.where, one.topic, one.first, one.state, epoch))
            self._read[one.topic] = (kind, tail)
            starts[one.topic] = Start(one.first, epoch)
            self._metrics.begins.labels(kind.value).inc()
        self._source.begin(starts)

    def commit(self, kind: RecordKind, points: Mapping[StreamPartition, Checkpoint]) -> None:
        """Hear of the table's checkpoints; what does not agree with them is dropped."""
        for where, point in points.items():
            if (tail := self._store.of(kind).get(where)) is None:
                continue
            verdict = tail.commit(point)
            if isinstance(verdict, Differs):
                logger.error(
                    "counters differ from the commit's: partition dropped",
                    extra={"table": kind.value, "partition": str(where), "difference": str(verdict)},
                )
                self._metrics.counter_mismatches.labels(kind.value).inc()
                self.drop(kind, where)
            elif verdict is not None:
                logger.warning(
                    "offsets excluded by the commit: partition dropped",
                    extra={"table": kind.value, "partition": str(where), "range": str(verdict)},
                )
                self.drop(kind, where)

    def evict(self, kind: RecordKind, horizons: Mapping[StreamPartition, int]) -> None:
        """Let go of rows below these offsets."""
        for where, offset in horizons.items():
            if (tail := self._store.of(kind).get(where)) is not None:
                self._store.evict_below(tail, offset)

    def drop(self, kind: RecordKind, where: StreamPartition) -> None:
        """Hold a partition no more. Whoever wants it held begins it anew."""
        tail = self._store.of(kind).get(where)
        if tail is None:
            return
        self._stop_reading(kind, tail)
        self._store.drop(kind, where)
        self._metrics.drops.labels(kind.value).inc()

    def stop(self, kind: RecordKind, where: StreamPartition, stop: Stop, said: str) -> None:
        """Read a partition no more and keep what is held."""
        if (tail := self._store.of(kind).get(where)) is None or tail.stopped is not None:
            return
        level = logging.INFO if stop is Stop.CLOSED else logging.ERROR
        logger.log(
            level,
            f"reading stopped: {stop.value}",
            extra={"table": kind.value, "partition": str(where), "at": tail.hi, "reason": said},
        )
        tail.stopped = stop
        self._stop_reading(kind, tail)

    def close(self, kind: RecordKind, where: StreamPartition) -> None:
        """The stream takes no more records: read no more, keep what pins may still ask for."""
        self.stop(kind, where, Stop.CLOSED, "")
        if (tail := self._store.of(kind).get(where)) is not None:
            tail.stopped = Stop.CLOSED

    def forget(self, kind: RecordKind, where: StreamPartition) -> None:
        """Let go of a partition that nobody can ask for any more."""
        self._store.forget(kind, where)

    def vouch(self, kind: RecordKind, reached: Mapping[StreamPartition, int]) -> None:
        """The topic was found to be the stream's after these offsets had been read."""
        for where, offset in reached.items():
            if (tail := self._store.of(kind).get(where)) is not None:
                tail.vouched = max(tail.vouched, min(offset, tail.hi))

    def hear(self, kind: RecordKind, ends: Mapping[StreamPartition, int], as_of_us: int) -> None:
        """The logs' ends were asked for at `as_of_us`, and were these."""
        for where, end in ends.items():
            if (tail := self._store.of(kind).get(where)) is not None:
                tail.hear(end, as_of_us)

    def disown(self, kind: RecordKind, stream_id: int, said: str) -> None:
        """The topic is another one: keep what is known to be the stream's, read no more."""
        for where, tail in self._store.of(kind).items():
            if where.stream_id == stream_id and tail.stopped in (None, Stop.LOG_LOST):
                self.stop(kind, where, Stop.FOREIGN_TOPIC, said)
                tail.stopped = Stop.FOREIGN_TOPIC
                if tail.vouched < tail.hi:
                    self._store.cut(tail, tail.vouched)

    def _stop_reading(self, kind: RecordKind, tail: PartitionTail) -> None:
        if self._read.get(tail.topic, (None, None))[1] is tail:
            del self._read[tail.topic]
            self._observers[kind].release([tail.topic])
            self._source.end([tail.topic])

    # The thread

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set.

        Raises:
            Stopped: Kafka refuses what no waiting mends.
        """
        try:
            while not stop.is_set():
                self._rest(*self.step(_IDLE_SECONDS))
        finally:
            self._source.close()

    def step(self, timeout_seconds: float) -> tuple[int, float]:
        """One batch, if it comes within the time: its records, and the seconds that it took.

        Raises:
            Stopped: Kafka refuses what no waiting mends.
        """
        if self._changes():
            self._publish()
        runs = self._source.poll(_POLL_RECORDS, timeout_seconds)
        began = time.monotonic()
        if runs:
            self._observe(runs)
        if upkeep := began >= self._upkeep_at:
            self._upkeep_at = began + _UPKEEP_SECONDS
            self._upkeep()
        if began >= self._second_at:
            self._second_at = began + 1.0
            self._each_second()
        if runs or upkeep:
            self._publish()
        records = sum(len(run.offsets) for run in runs)
        if records < _BEHIND_RECORDS:
            self._measure(runs)
        return records, time.monotonic() - began

    def _measure(self, runs: Sequence[Run]) -> None:
        """How long the oldest record of each run was on its way."""
        now_us = time.time_ns() // 1000
        for run in runs:
            if run.where in self._read:
                kind = self._read[run.where][0].value
                seconds = (now_us - int(run.append_us[0])) / 1e6
                self._metrics.append_to_queryable_seconds.labels(kind).observe(seconds)

    def _rest(self, records: int, took_seconds: float) -> None:
        if 0 < records < _BEHIND_RECORDS:
            time.sleep(max(_BETWEEN_SECONDS - took_seconds, took_seconds * _REST))

    def _publish(self) -> None:
        self._store.publish()
        self._published()

    def _changes(self) -> bool:
        changed = False
        while True:
            try:
                change = self._asked.get_nowait()
            except queue.Empty:
                return changed
            change()
            changed = True

    def _observe(self, runs: Sequence[Run]) -> None:
        by_kind: dict[RecordKind, list[Run]] = {}
        for run in runs:
            if run.where in self._read:
                by_kind.setdefault(self._read[run.where][0], []).append(run)
        for kind, mine in by_kind.items():
            try:
                self._judge(kind, mine)
            except Stopped:
                for run in mine:  # one of them: the others are innocent
                    try:
                        self._judge(kind, [run])
                    except Stopped as error:
                        self.stop(kind, self._read[run.where][1].where, Stop.UNREADABLE, str(error))

    def _judge(self, kind: RecordKind, runs: Sequence[Run]) -> None:
        observed, paused = self._observers[kind].observe(runs)
        for one in observed:
            self._take(kind, one)
        for blocked in paused:
            said = (
                f"schema id {blocked.schema_id} at offset {blocked.offset} cannot be resolved by this build"
            )
            self.stop(kind, self._read[blocked.where][1].where, Stop.UNREADABLE, said)

    def _take(self, kind: RecordKind, one: Observed) -> None:
        _, tail = self._read[one.place.topic]
        offsets, times = one.run.offsets, one.run.append_us
        first, next_ = int(offsets[0]), int(offsets[-1]) + 1
        for at in range(0, len(offsets), max(1, len(offsets) // 16)):
            tail.appends.add(int(offsets[at]), int(times[at]))
        rejects = sorted(first + position for position in one.rejects)
        tail.append(resident(first, next_, one.rows), rejects, one.place.state.append_us)

    def _upkeep(self) -> None:
        for topic, said in self._source.lost().items():
            kind, tail = self._read[topic]
            self.stop(kind, tail.where, Stop.LOG_LOST, said)
        for topic, (_, tail) in self._read.items():
            tail.end = max(tail.end, self._source.end_offset(topic))
        self._store.relieve()
        if self._store.full != self._paused:
            self._paused = self._store.full
            self._source.pause(self._paused)
