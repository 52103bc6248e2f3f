"""Several writers, zombies among them, on one log and one table that misbehave: a state machine.

The writer's own code runs over in-memory twins; after every landed commit the table is
compared with what the reference makes of the log below H.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from model.reference import Reference, Row, Sent
from seamark.consumer_writer.adopt import adopt, adopt_at_snapshot
from seamark.consumer_writer.batch import Batch
from seamark.consumer_writer.decide import Fenced, Landed
from seamark.consumer_writer.expiry import ExpiryPolicy
from seamark.consumer_writer.table_writer import Attempt, TableWriter
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CatalogUnavailable, CommitConflict, CommitUnknown
from seamark.market.routing import routing_for
from seamark.market.schema import RecordKind
from seamark.stream.decode import Decoder
from seamark.stream.encode import Encoder
from seamark.stream.errors import Stopped
from seamark.stream.log import TopicPartition
from seamark.stream.wire import FIXED_SCHEMA_IDS
from twins.lake import Answer, MemoryStates, MemoryTable
from twins.log import MemoryDeadLetters, MemoryLog

SYMBOLS = ("AAA", "BBB", "CCC")
SELDOM = st.integers(0, 5).map(lambda number: number == 0)
"""What undoes much of a run's work happens once in six times, or nothing else would."""
TIERS = {"AAA": 1, "BBB": 2}
ANSWERS = (*[Answer.OK] * 5, *Answer)
START_US = 1_700_000_000_000_000
DECIMAL = (5).to_bytes(1, "big", signed=True)


@dataclass
class Actor:
    """One writer process: its code, and how far its current batch is."""

    writer: TableWriter
    batch: Batch | None = None
    attempt: Attempt | None = None
    epochs: dict[TopicPartition, int] = field(default_factory=dict)
    """Leader epoch of the record below each position, as its client knows it."""


class WriterMachine(RuleBasedStateMachine):
    """Trades. `Quotes` below runs the same on quotes."""

    kind = RecordKind.TRADES
    new_table: Callable[[], MemoryTable] = MemoryTable

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryLog()
        self.topic = f"market.crypto.{self.kind.value}.binance"
        self.table = self.new_table()
        self.states = MemoryStates()
        self.encoder = Encoder(self.kind, FIXED_SCHEMA_IDS[self.kind])
        self.actors: list[Actor] = []
        self.requests: list[Attempt] = []  # of writers that were killed while sending
        self.now_us = START_US
        self.next_number = dict.fromkeys(SYMBOLS, 1)
        self.sent: dict[tuple[str, int], list[Sent]] = {}  # by (topic id, partition)
        self.content: dict[tuple[int, int], list[Sent]] = {}  # of streams that ended, by (stream, partition)
        self.checked_head: int | None = None
        self.reached: dict[str, int] = {}
        self.writers_made = 0
        self.stopped = ""
        self.adopted: set[int] = set()  # snapshots by which an operator took the head as it was
        self.truncated: int | None = None  # stream whose log lost records that are in the table

    # The world

    @initialize()
    def begin(self) -> None:
        self.log.create(self.topic, 4)
        self._adopt(None, lost=False)
        self.start_writer()
        self.start_writer()

    def _routing(self):
        return routing_for(self.topic, self.kind, self.log.partitions(self.topic), TIERS)

    def _adopt(self, succeeds: int | None, lost: bool) -> None:
        for actor in list(self.actors):
            self._kill(actor)
        self.table.delayed.clear()
        adopt(self.table, self.states, self.log, self.kind, self.topic, self._routing(), succeeds, lost)

    def _records(self, where: TopicPartition) -> list[Sent]:
        return self.sent.setdefault((self.log.topics[where.topic].topic_id, where.partition), [])

    def _append(self, symbol: str, number: int, time_us: int, poison: bool = False) -> None:
        where = TopicPartition(self.topic, self._routing().partition_of(symbol))
        record: dict[str, object] = {
            "exchange": "binance",
            "market": "spot",
            "feed": "bookTicker" if self.kind is RecordKind.QUOTES else "trade",
            "symbol": symbol,
            "source_sequence": number,
            "timestamp": time_us,
            "ingestion_timestamp": time_us,
            "currency": "USDT",
            "origin": "STREAM",
        }
        if self.kind is RecordKind.QUOTES:
            record |= dict.fromkeys(("bid_price", "bid_quantity", "ask_price", "ask_quantity"), DECIMAL)
            record["timestamp_source"] = "RECEIVE"
        else:
            record |= {"price": DECIMAL, "quantity": DECIMAL, "side": "BUY"}
        value = self.encoder.encode(record)
        append_us = self.now_us + (-5_000 if number % 5 == 0 else 0)  # a broker's clock may step back
        self.log.append(where, value[:-2] if poison else value, append_us)
        self._records(where).append(Sent(None if poison else symbol, number, time_us, append_us))

    @rule(symbol=st.sampled_from(SYMBOLS), count=st.integers(1, 4), skip=st.booleans())
    def trade_on(self, symbol: str, count: int, skip: bool) -> None:
        self.next_number[symbol] += 2 * skip
        for _ in range(count):
            self.now_us += 1_000
            self._append(symbol, self.next_number[symbol], self.now_us)
            self.next_number[symbol] += 1

    @rule(symbol=st.sampled_from(SYMBOLS), back=st.integers(1, 6))
    def repeat(self, symbol: str, back: int) -> None:
        """A record once more, as a second leg or a retrying producer sends it."""
        where = TopicPartition(self.topic, self._routing().partition_of(symbol))
        earlier = [sent for sent in self._records(where) if sent.symbol == symbol]
        if earlier:
            record = earlier[-min(back, len(earlier))]
            self._append(symbol, record.number, record.time_us)

    @rule(symbol=st.sampled_from(SYMBOLS))
    def fill_hole(self, symbol: str) -> None:
        """A trade that comes late: an older id and time."""
        self._append(symbol, max(1, self.next_number[symbol] - 3), self.now_us - 2_500)

    @rule(symbol=st.sampled_from(SYMBOLS))
    def reset(self, symbol: str) -> None:
        """The venue begins its numbers anew."""
        self.now_us += 61_000_000
        self.next_number[symbol] = 1
        self.trade_on(symbol, 2, False)

    @rule(symbol=st.sampled_from(SYMBOLS))
    def poison(self, symbol: str) -> None:
        self._append(symbol, 0, self.now_us, poison=True)

    # Writers

    @rule()
    @precondition(lambda self: len(self.actors) < 3)
    def start_writer(self) -> None:
        self.writers_made += 1
        writer = TableWriter(
            self.kind,
            self.table,
            self.states,
            self.log,
            Decoder(self.kind),
            MemoryDeadLetters(),
            f"writer-{self.writers_made}",
            ExpiryPolicy(target_snapshots=5, per_commit=3, min_age_seconds=0.002),
        )
        actor = Actor(writer)
        self.actors.append(actor)
        # All take all: each but one is a zombie that has not heard of its revocation yet.
        self._take(actor, [TopicPartition(self.topic, n) for n in range(self.log.partitions(self.topic))])

    def _actor(self, pick: int) -> Actor:
        return self.actors[pick % len(self.actors)]

    def _take(self, actor: Actor, partitions: list[TopicPartition]) -> bool:
        try:
            starts = actor.writer.assign(partitions)
        except Stopped as error:
            self.stopped = str(error)
            self._kill(actor)
            return False
        except CatalogUnavailable:
            actor.writer.release(partitions)
            return False
        for where, start in starts.items():
            actor.epochs[where] = start.leader_epoch
        return True

    @rule(
        pick=st.integers(0, 2), partitions=st.sets(st.integers(0, 3), min_size=1, max_size=4), seldom=SELDOM
    )
    @precondition(lambda self: self.actors)
    def assign(self, pick: int, partitions: set[int], seldom: bool) -> None:
        """A rebalance. Others that hold them may not know."""
        if not seldom:
            return
        actor = self._actor(pick)
        wanted = [TopicPartition(self.topic, partition) for partition in sorted(partitions)]
        if actor.batch is not None:
            self._drop(actor)
        self._take(actor, wanted)

    @rule(pick=st.integers(0, 2), most=st.integers(1, 6), replay=st.integers(0, 2))
    @precondition(lambda self: self.actors)
    def read(self, pick: int, most: int, replay: int) -> None:
        actor = self._actor(pick)
        try:
            for where in actor.writer.assigned:
                position = actor.writer.position(where)
                first = max(self.log.bounds(where).start, position - replay)
                run = self.log.read(where, first, most + replay)
                actor.writer.observe([run])
                if actor.writer.position(where) > position:
                    actor.epochs[where] = run.leader_epoch
        except Stopped:
            self._kill(actor)

    @rule(pick=st.integers(0, 2))
    @precondition(lambda self: self.actors)
    def seal(self, pick: int) -> None:
        actor = self._actor(pick)
        if actor.batch is None:
            actor.batch = actor.writer.seal()

    @rule(pick=st.integers(0, 2), down=st.integers(0, 9))
    @precondition(lambda self: self.actors)
    def prepare(self, pick: int, down: int) -> None:
        actor = self._actor(pick)
        if actor.batch is None:
            return
        self.table.answer = Answer.UNAVAILABLE if down == 0 else Answer.OK
        try:
            result = actor.writer.prepare(actor.batch, self.table.clock_ms)
        except CatalogUnavailable:
            return
        except Stopped:
            self._kill(actor)
            return
        finally:
            self.table.answer = Answer.OK
        if isinstance(result, Landed):
            actor.batch = actor.attempt = None
        elif isinstance(result, Fenced):
            self._drop(actor)
        else:
            actor.attempt = result

    @rule(pick=st.integers(0, 2), answer=st.sampled_from(ANSWERS))
    @precondition(lambda self: self.actors)
    def send(self, pick: int, answer: Answer) -> None:
        actor = self._actor(pick)
        if actor.attempt is None:
            return
        self.table.answer = answer
        attempt, actor.attempt = actor.attempt, None
        try:
            actor.writer.send(attempt)
        except (CommitConflict, CommitUnknown, CatalogUnavailable):
            return
        finally:
            self.table.answer = Answer.OK
        actor.batch = None

    @rule(pick=st.integers(0, 2), most=st.integers(1, 6), answer=st.sampled_from(ANSWERS))
    @precondition(lambda self: self.actors)
    def commit(self, pick: int, most: int, answer: Answer) -> None:
        """Read, seal, prepare and send at once: what mostly happens."""
        self._steps(
            self._actor(pick),
            lambda at: self.read(at, most, 0),
            self.seal,
            lambda at: self.prepare(at, 1),
            lambda at: self.send(at, answer),
        )

    @rule(pick=st.integers(0, 2), most=st.integers(1, 6))
    @precondition(lambda self: len(self.actors) > 1)
    def overtake(self, pick: int, most: int) -> None:
        """A is ready to send; B commits; A sends."""
        first, second = self._actor(pick), self._actor(pick + 1)
        self._steps(first, lambda at: self.read(at, most, 0), self.seal, lambda at: self.prepare(at, 1))
        self._steps(second, lambda at: self.commit(at, most, Answer.OK))
        self._steps(first, lambda at: self.send(at, Answer.OK))

    @rule(pick=st.integers(0, 2), most=st.integers(1, 6))
    @precondition(lambda self: self.actors)
    def read_on_while_committing(self, pick: int, most: int) -> None:
        """A batch is sealed, more is read, the batch lands, the writer dies, another begins."""
        actor = self._actor(pick)
        self._steps(
            actor,
            lambda at: self.read(at, most, 0),
            self.seal,
            lambda at: self.read(at, most, 0),
            lambda at: self.prepare(at, 1),
            lambda at: self.send(at, Answer.OK),
            lambda at: self.crash(at, True),
        )
        self.start_writer()

    def _steps(self, actor: Actor, *steps: Callable[[int], None]) -> None:
        """Rules on one actor, as long as it lives."""
        for step in steps:
            if actor in self.actors:
                step(self.actors.index(actor))

    def _drop(self, actor: Actor) -> None:
        """Fenced, or a revoke that cannot wait: the batch and all read after it are void."""
        actor.batch = actor.attempt = None
        held = list(actor.writer.assigned)
        actor.writer.release(held)
        if held:
            self._take(actor, held)

    def _kill(self, actor: Actor) -> None:
        if actor.attempt is not None:
            self.requests.append(actor.attempt)
        self.actors = [other for other in self.actors if other is not actor]

    @rule(pick=st.integers(0, 2), seldom=SELDOM)
    @precondition(lambda self: self.actors)
    def crash(self, pick: int, seldom: bool) -> None:
        if seldom:
            self._kill(self._actor(pick))

    @rule(pick=st.integers(0, 2), partition=st.integers(0, 3), seldom=SELDOM)
    @precondition(lambda self: self.actors)
    def revoke(self, pick: int, partition: int, seldom: bool) -> None:
        if not seldom:
            return
        actor = self._actor(pick)
        where = TopicPartition(self.topic, partition)
        if actor.batch is not None:
            self._drop(actor)
        actor.writer.release([where])

    @rule()
    @precondition(lambda self: self.table.delayed)
    def delayed_request_arrives(self) -> None:
        self.table.arrive()

    @rule()
    @precondition(lambda self: self.requests)
    def dead_writers_request_arrives(self) -> None:
        attempt = self.requests.pop(0)
        self.table.delayed.append((attempt.view, attempt.change))
        self.table.arrive()

    # Others at the table

    @rule()
    def compact(self) -> None:
        self.table.compact()

    @rule(really=st.booleans())
    def foreign_append(self, really: bool) -> None:
        if really:
            self.table.foreign_append()

    @rule()
    @precondition(lambda self: self.table.others)
    def adopt_head(self) -> None:
        """An operator takes what others did to the table as it is; writers go on."""
        assert self.table.head is not None
        self._adopt_at(self.table.head)

    def _adopt_at(self, head: int) -> None:
        adopt_at_snapshot(self.table, head)
        assert self.table.head is not None
        self.adopted.add(self.table.head)

    @rule(back=st.integers(1, 3), seldom=SELDOM)
    @precondition(lambda self: len(self.table.snapshots) > 3 and self.truncated is None)
    def roll_back(self, back: int, seldom: bool) -> None:
        """The branch goes back; writers must stop; the operator adopts the head."""
        if not seldom:
            return
        view = self.table.load()
        head, own = self.table.head, view.own_summary(self.table.head)
        for _ in range(back):
            parent = self.table.snapshots[head].view.parent_id if head in self.table.snapshots else None
            if parent is None or parent not in self.table.snapshots:
                break
            head = parent
        target = view.own_summary(head)
        if head is None or target is None or own is None or target.checkpoint_text == own.checkpoint_text:
            return  # nothing of a writer's lies between
        self.table.roll_back(head)
        for actor in list(self.actors):
            actor.attempt = None
            if actor.batch is not None:
                self.prepare(self.actors.index(actor), 1)
                assert actor not in self.actors, "a writer went on after a rollback"
        self.start_writer()
        assert "rolled_back" in self.stopped, "a writer began after a rollback"
        self._adopt_at(head)
        for key in list(self.content):
            if key[0] not in self.table.load().streams:
                del self.content[key]
        self.reached.clear()
        for actor in list(self.actors):
            self._kill(actor)
        stream = self.table.load().stream_of(self.topic)
        assert stream is not None
        if any(key[0] == stream.stream_id for key in self.content):
            # The way back led past an adoption: the topic's new life must be adopted again.
            self._adopt(stream.stream_id, lost=True)
        assert self.table.load().next_stream_id >= view.next_stream_id, "a stream id may be used again"

    @rule(damage=st.booleans())
    @precondition(lambda self: self.states.files)
    def lose_state_files(self, damage: bool) -> None:
        for name, data in list(self.states.files.items()):
            if damage:
                self.states.files[name] = data[:-3] + b"???"
            else:
                del self.states.files[name]

    # The topic's lives

    def _end_stream(self) -> int:
        """Remember what the open stream's log held; its id."""
        stream = self.table.load().stream_of(self.topic)
        assert stream is not None
        for partition in range(stream.partitions):
            where = TopicPartition(self.topic, partition)
            self.content.setdefault((stream.stream_id, partition), list(self._records(where)))
        self.truncated = None
        return stream.stream_id

    @rule(seldom=SELDOM)
    @precondition(lambda self: len(self.content) < 12)
    def recreate_topic(self, seldom: bool) -> None:
        if not seldom:
            return
        old = self._end_stream()
        self.log.create(self.topic, 4)
        self._adopt(old, lost=True)

    @rule(partition=st.integers(0, 3), back=st.integers(1, 4), seldom=SELDOM)
    @precondition(lambda self: self.truncated is None and len(self.content) < 12)
    def truncate(self, partition: int, back: int, seldom: bool) -> None:
        """An unclean election loses the end of a log: read by writers, or in the table already."""
        where = TopicPartition(self.topic, partition)
        end = self.log.bounds(where).end - back
        stream = self.table.load().stream_of(self.topic)
        if not seldom or end < 0 or stream is None:
            return
        point = self.table.load().checkpoints[StreamPartition(stream.stream_id, partition)]
        if point.next > end:
            self.truncated = stream.stream_id
            self.content[stream.stream_id, partition] = list(self._records(where))
        self.log.truncate(where, end)
        del self._records(where)[end:]
        # What was read, is gone, and is not committed must not be committed any more: no broker
        # can take that back, so no writer may hold it (acks=all, unclean election off).
        for actor in list(self.actors):
            position = actor.writer.position(where) if where in actor.writer.assigned else 0
            # A client that stands above the end and knows its epoch asks the new leader, and is told.
            told = position > end and actor.epochs[where] >= 0
            if actor.batch is not None or position > max(end, point.next) or told:
                self._kill(actor)
        self.requests.clear()
        self.table.delayed.clear()
        for symbol in SYMBOLS:
            if self._routing().partition_of(symbol) == partition:
                self.trade_on(symbol, back + 2, False)  # the log grows past H again
        self.start_writer()

    @rule(seldom=SELDOM, still=SELDOM)
    @precondition(lambda self: self.truncated is not None)
    def adopt_truncated(self, seldom: bool, still: bool) -> None:
        if seldom and still:
            self._adopt_after_truncation()

    def _adopt_after_truncation(self) -> None:
        self._adopt(self._end_stream(), lost=False)
        stream = self.table.load().stream_of(self.topic)
        assert stream is not None and set(stream.start) == {0}, "new records below H were skipped"

    # The judgement

    @invariant()
    def table_is_the_fold_of_the_log(self) -> None:
        if self.table.head is None or self.table.head == self.checked_head:
            return
        self.checked_head = self.table.head
        self.judge()

    def judge(self) -> None:
        properties = self.table.properties
        streams = {
            int(name.removeprefix("seamark.stream.")): json.loads(text)
            for name, text in properties.items()
            if name.startswith("seamark.stream.")
        }
        reference = Reference(self.kind is RecordKind.QUOTES)
        expected: list[Row] = []
        for stream_id, stream in sorted(streams.items()):
            for partition in range(stream["partitions"]):
                name = f"seamark.checkpoint.{stream_id}.{partition}"
                point = json.loads(properties[name])
                assert point["next"] >= self.reached.get(name, 0), f"H of {name} went back"
                self.reached[name] = point["next"]
                records = self.content.get((stream_id, partition))
                if records is None:
                    records = self.sent.get((stream["topic_id"], partition), [])
                first = stream["start"][partition]
                rows, counts = reference.rows(
                    stream_id, partition, enumerate(records[first : point["next"]], first)
                )
                expected += rows
                for count, number in counts.items():
                    assert point[count] == number, f"{name}: {count} was {point[count]}, log says {number}"
                assert point["next"] - first == sum(
                    point[name] for name in ("written", "duplicate", "dlq", "shed", "lost")
                )
        assert sorted(self._rows()) == sorted(expected)
        view = self.table.load()
        for snapshot in view.snapshots.values():
            if snapshot.operation == "replace":
                assert view.own_summary(snapshot.snapshot_id), "a kept snapshot cannot be pinned"

    def _rows(self) -> list[Row]:
        table = self.table.rows()
        if table is None:
            return []
        columns = ("stream_id", "kafka_partition", "kafka_offset", "symbol", "source_sequence", "id_epoch")
        times = table["kafka_timestamp"].cast("int64").to_pylist()
        return [
            Row._make((*values, time))
            for *values, time in zip(*(table[name].to_pylist() for name in columns), times, strict=True)
        ]

    def teardown(self) -> None:
        """Whatever happened: a fresh writer brings the table to the end of the log."""
        if self.table.head is None:
            return
        for actor in list(self.actors):
            self._kill(actor)
        if self.truncated is not None:
            self._adopt_after_truncation()
        self.start_writer()
        assert self.actors, f"a fresh writer could not start: {self.stopped}"
        partitions = [TopicPartition(self.topic, n) for n in range(self.log.partitions(self.topic))]
        self.commit(0, 10_000, Answer.OK)
        self.judge()
        stream = self.table.load().stream_of(self.topic)
        assert stream is not None
        for where in partitions:
            point = self.table.load().checkpoints[StreamPartition(stream.stream_id, where.partition)]
            assert point.next == self.log.bounds(where).end, f"{where} was not drained"


class QuoteMachine(WriterMachine):
    kind = RecordKind.QUOTES
