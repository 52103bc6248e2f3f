"""Several replicas behind one source, over gRPC on loopback: who is asked, for how long, and for what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import polars as pl
import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.sources import Range
from seamark.query_gateway.tails import TailReplicas
from seamark.rpc.errors import abort
from seamark.rpc.frames import encode
from seamark.rpc.server import serve
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.stream.replicas import replicas_of
from unit.query_gateway.lake import KIND, TOPIC

COLUMNS = ("stream_id", "kafka_partition", "kafka_offset")
SCHEMA = {"stream_id": pl.Int32, "kafka_partition": pl.Int32, "kafka_offset": pl.Int64}
P0 = StreamPartition(1, 0)
SECONDS = 5.0


@dataclass
class Replica(tail_pb2_grpc.TailServiceServicer):
    """Holds [lo, hi) of every partition, a row each; waits for what it is asked for, as the real one does."""

    lo: int = 0
    hi: int = 10
    stopped: str = ""
    waits: bool = True
    hung: bool = False
    most_rows: list[int] = field(default_factory=list)
    """What each read was limited to."""
    busy: int = 0
    """So many reads are refused."""
    piece_pause_seconds: float = 0.0
    retention_seconds: float | None = None
    """Of how long it keeps rows it says so much."""
    assigned: Callable[[int], bool] = lambda partition: True
    asked: list[tuple[int, int, int | None]] = field(default_factory=list)

    async def GetWatermarks(self, request, context):  # noqa: N802
        if self.hung:
            await asyncio.sleep(60)
        mark = tail_pb2.PartitionWatermark(stream_id=1, partition=0, lo=self.lo, hi=self.hi, end=self.hi)
        return tail_pb2.GetWatermarksResponse(epoch="e", partitions=[mark])

    async def ReadRanges(self, request, context):  # noqa: N802
        ranges = [
            (one.partition, one.from_offset, one.to_offset if one.HasField("to_offset") else None)
            for one in request.ranges
        ]
        self.asked += ranges
        self.most_rows.append(request.max_rows)
        if 0 < request.max_rows < self.hi:
            message, code = "too many rows", market_data_pb2.ERROR_CODE_TOO_COSTLY
            await abort(context, code, message, field="max_rows")
        if self.busy:
            self.busy -= 1
            await abort(context, market_data_pb2.ERROR_CODE_UNAVAILABLE, "too many", retry_after_ms=20)
        if self.hung:
            await asyncio.sleep(60)
        while self.waits and not self.stopped and any((next_ or 0) > self.hi for _, _, next_ in ranges):
            if context.time_remaining() < 0.05:
                break
            await asyncio.sleep(0.01)
        header = tail_pb2.ReadHeader(epoch="e", pin_retention_seconds=self.retention_seconds)
        frames = [pl.DataFrame(schema=SCHEMA)]
        for partition, first, next_ in ranges:
            wanted = self.hi if next_ is None else next_
            begin = min(max(first, self.lo), max(wanted, first))
            behind = max(begin, min(wanted, self.hi)) if self.assigned(partition) else begin
            header.ranges.append(
                tail_pb2.RangeCoverage(
                    stream_id=1,
                    partition=partition,
                    from_offset=begin,
                    to_offset=behind,
                    lo=self.lo,
                    hi=self.hi,
                    end=10,
                    stopped=self.stopped,
                    unassigned=not self.assigned(partition),
                )
            )
            offsets = range(begin, behind)
            count = len(offsets)
            frames.append(
                pl.DataFrame(
                    {
                        "stream_id": [1] * count,
                        "kafka_partition": [partition] * count,
                        "kafka_offset": offsets,
                    },
                    SCHEMA,
                )
            )
        yield tail_pb2.ReadRangesResponse(header=header)
        rows = pl.concat(frames)
        table = rows.to_arrow()
        for frame in encode(table.schema, table.to_batches()):
            await asyncio.sleep(self.piece_pause_seconds)
            yield tail_pb2.ReadRangesResponse(arrow=frame)
        yield tail_pb2.ReadRangesResponse(trailer=tail_pb2.ReadTrailer(epoch="e", rows=len(rows)))


def ask(
    replicas,
    next_,
    seconds=SECONDS,
    first=0,
    partitions=(0,),
    positions=False,
    most_rows=0,
    longest=0.0,
    again=False,
):
    """What the replicas give together, as (offsets of partition 0, coverage, failed, seconds it took).

    `replicas`: the owner of partition 0 first.
    """

    async def run():
        order = replicas_of(TOPIC, 0, len(replicas), len(replicas))
        async with AsyncExitStack() as stack:
            addresses = {}
            for ordinal, replica in zip(order, replicas, strict=True):
                add = partial(tail_pb2_grpc.add_TailServiceServicer_to_server, replica)
                server = await serve("127.0.0.1:0", {"seamark.v1.TailService": add})
                stack.push_async_callback(server.stop, 0)
                addresses[ordinal] = f"127.0.0.1:{server.port}"
            ordered = [addresses[ordinal] for ordinal in sorted(addresses)]
            source = TailReplicas(ordered, len(replicas), most_rows, longest)
            stack.push_async_callback(source.close)
            ranges = [Range(StreamPartition(1, one), TOPIC, first, next_) for one in partitions]
            began = time.monotonic()
            if positions:
                await source.positions(KIND, ranges, began + 1)
            given = await source.read(KIND, ranges, COLUMNS, Predicate(), began + seconds)
            if again:
                await source.read(KIND, ranges, COLUMNS, Predicate(), began + seconds)
            return given, time.monotonic() - began

    given, took = asyncio.run(run())
    rows = pl.DataFrame(schema=SCHEMA) if given.frame is None else given.frame
    part = given.coverage.get(P0)
    offsets = sorted(rows.filter(pl.col("kafka_partition") == 0)["kafka_offset"])
    if part is not None:
        assert offsets == list(range(part.first, part.next)), "each offset of the coverage, once"
    return offsets, part, given.failed, took


def test_owner_behind_the_peer_gives_it_before_the_deadline():
    offsets, part, failed, took = ask([Replica(hi=5), Replica(hi=10)], 10)
    assert offsets == list(range(10))
    assert (part.hi, failed) == (10, {})
    assert took < SECONDS - 1


def test_owner_that_says_it_is_behind_is_not_waited_for():
    owner = Replica(hi=5)
    offsets, _, _, took = ask([owner, Replica(hi=10)], 10, positions=True)
    assert offsets == list(range(10))
    assert owner.asked == []
    assert took < 1


def test_owner_that_hangs_is_left_for_the_peer():
    offsets, _, failed, took = ask([Replica(hung=True), Replica()], 10)
    assert (offsets, failed) == (list(range(10)), {})
    assert took < SECONDS - 1


@pytest.mark.parametrize("next_", [10, None])
def test_of_who_reads_no_more_the_peer_gives_the_rest_alone(next_):
    peer = Replica()
    offsets, part, _, took = ask([Replica(hi=5, stopped="PAUSED"), peer], next_)
    assert offsets == list(range(10))
    assert (part.first, part.next, part.stopped) == (0, 10, "")
    assert peer.asked == [(0, 5, next_)]
    assert took < 1


def test_what_the_owner_has_let_go_of_comes_from_the_peer():
    peer = Replica()
    offsets, part, _, _ = ask([Replica(lo=6), peer], 10)
    assert offsets == list(range(10))
    assert (part.first, part.next, part.lo) == (0, 10, 0)
    assert peer.asked == [(0, 0, 6)]


def test_both_ends_of_what_the_owner_has_come_from_the_peer():
    peer = Replica()
    offsets, _, _, _ = ask([Replica(lo=3, hi=5, waits=False), peer], 10)
    assert offsets == list(range(10))
    assert sorted(peer.asked) == [(0, 0, 3), (0, 5, 10)]


def test_rows_that_do_not_touch_are_not_given():
    offsets, part, _, _ = ask([Replica(hi=3, waits=False), Replica(lo=7)], 10)
    assert (part.first, part.next, offsets) == (0, 3, [0, 1, 2])


def test_nobody_has_it_and_both_are_waited_for():
    offsets, part, _, took = ask([Replica(hi=5), Replica(hi=7)], 10, seconds=1.5)
    assert part.next in (5, 7)
    assert len(offsets) == part.next
    assert took > 1


def test_one_alone_is_waited_for_to_the_end():
    offsets, part, _, took = ask([Replica(hi=5)], 10, seconds=1.0)
    assert (offsets, part.next) == (list(range(5)), 5)
    assert took > 0.8


def test_a_replica_that_sends_is_waited_for_beyond_a_share():
    owner = Replica(piece_pause_seconds=0.6)
    offsets, _, _, took = ask([owner, Replica()], 10, seconds=2.5)
    assert offsets == list(range(10))
    assert owner.asked == [(0, 0, 10)]
    assert took > 1


def test_who_has_too_many_reads_is_asked_once_more():
    owner, peer = Replica(busy=1), Replica()
    assert ask([owner, peer], 10)[0] == list(range(10))
    assert (len(owner.asked), peer.asked) == (2, [])


def test_a_peer_reads_for_who_has_too_many_reads():
    owner, peer = Replica(busy=100), Replica()
    assert ask([owner, peer], 10)[0] == list(range(10))
    assert (len(owner.asked), len(peer.asked)) == (2, 1)


def test_all_have_too_many_reads():
    _, part, failed, took = ask([Replica(busy=100), Replica(busy=100)], 10)
    assert (part, failed) == (None, {P0: "TAIL_BUSY"})
    assert took < 1


def test_a_partition_that_only_the_peer_has():
    owner = Replica(assigned=lambda partition: False)
    peer = Replica()
    assert ask([owner, peer], 10)[0] == list(range(10))


def test_more_rows_than_one_answer_may_hold_are_refused_and_nobody_else_is_asked():
    owner, peer = Replica(), Replica()
    with pytest.raises(TooCostly, match="more than 9 rows"):
        ask([owner, peer], 10, most_rows=9)
    assert (owner.most_rows, peer.most_rows) == ([9], [])
    assert ask([owner, peer], 10, most_rows=10)[0] == list(range(10))


@pytest.mark.parametrize(("kept", "warned"), [(329.0, True), (330.0, False), (0.0, True), (None, False)])
def test_a_replica_that_keeps_rows_for_less_than_an_answer_takes_is_warned_about_once(caplog, kept, warned):
    offsets, _, _, _ = ask([Replica(retention_seconds=kept)], 10, longest=300.0, again=True)
    assert offsets == list(range(10)), "answers go on"
    said = [record.message for record in caplog.records if "PIN_RETENTION" in record.message]
    assert len(said) == warned
    if warned:
        assert f"was {kept:g}, must be at least 330" in said[0]
