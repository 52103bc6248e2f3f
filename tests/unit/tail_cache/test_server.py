"""The gRPC edge on loopback: headers, waits, limits and refusals."""

import asyncio
import contextlib
import threading
from contextlib import asynccontextmanager
from functools import partial

import grpc
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.client import open_channel
from seamark.rpc.errors import rpc_error
from seamark.rpc.frames import decode
from seamark.rpc.predicates import to_proto
from seamark.rpc.server import serve
from seamark.rpc.v1 import market_data_pb2, tail_pb2, tail_pb2_grpc
from seamark.tail_cache.arrivals import Arrivals
from seamark.tail_cache.server import TailService
from seamark.tail_cache.settings import TailSettings
from unit.tail_cache.world import World, in_order

SECONDS = 20.0


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "spill")
    made.send("AAA", 6)
    made.send("CCC", 3)
    made.send("BBB", 4)
    made.settle()
    return made


@asynccontextmanager
async def client(world, **settings):
    """A stub of the world's tail, served for as long as the block lasts."""
    arrivals = Arrivals(asyncio.get_running_loop())
    world.tail._published = arrivals.notify
    needed = {
        "kafka_bootstrap": "localhost:1",
        "catalog_uri": "http://localhost",
        "state_uri": "file:///x",
        "spill_folder": "/x",
    }
    configured = TailSettings.model_validate(needed | settings)
    service = TailService(world.store, arrivals, world.metrics, configured)
    add = partial(tail_pb2_grpc.add_TailServiceServicer_to_server, service)
    server = await serve("127.0.0.1:0", {"seamark.v1.TailService": add})
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield tail_pb2_grpc.TailServiceStub(channel)
    await server.stop(0)
    service.close()


def request(*ranges, **fields):
    """Ranges are (partition, from, to) of stream 1; to None: all there is."""
    asked = [
        tail_pb2.ReadRange(stream_id=1, partition=partition, from_offset=first, to_offset=next_)
        for partition, first, next_ in ranges
    ]
    return tail_pb2.ReadRangesRequest(**{"table": "trades", "ranges": asked} | fields)


async def read(stub, asked, seconds=SECONDS):
    """(header, rows by partition and offset, trailer)"""
    parts = [part async for part in stub.ReadRanges(asked, timeout=seconds, wait_for_ready=True)]
    assert [part.WhichOneof("part") for part in parts[1:-1]] == ["arrow"] * (len(parts) - 2)
    batches = list(decode(part.arrow for part in parts[1:-1]))
    return parts[0].header, batches, parts[-1].trailer


def test_an_answer_is_header_rows_and_trailer_of_one_epoch(world):
    async def run():
        async with client(world, pin_retention_seconds=45) as stub:
            header, batches, trailer = await read(stub, request((0, 0, None), (1, 1, 3)))
        assert header.pin_retention_seconds == 45
        assert header.epoch == trailer.epoch == world.store.now.epoch
        assert [(part.from_offset, part.to_offset) for part in header.ranges] == [(0, 9), (1, 3)]
        assert [(part.lo, part.hi, part.end) for part in header.ranges] == [(0, 9, 9), (0, 4, 4)]
        rows = in_order(batches, RecordKind.TRADES)
        assert trailer.rows == len(rows) == 11
        expected = world.rows()
        expected = expected.filter((pl.col("kafka_partition") == 0) | pl.col("kafka_offset").is_between(1, 2))
        assert_frame_equal(rows, expected)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "threaded"),
    [
        ((0, 0, 9), True),
        ((0, 8, 10), True),  # a row on disk, a row in memory
        ((0, 4, 4), True),  # nothing, within a block on disk
        ((0, 9, 12), False),
        ((0, 0, 0), False),
        ((0, 9, 9), False),
        ((7, 0, 5), False),
    ],
)
def test_few_offsets_are_looked_at_in_the_loop_where_no_file_is_read_for_them(world, asked, threaded):
    """Offsets below 9 are on disk, those from there on in memory."""
    [block] = world.view(0).blocks
    assert (block.lo, block.hi) == (0, 9)
    world.tail._store.of(RecordKind.TRADES)[world.view(0).where].replace(block, world.spill.spill(block))
    world.send("AAA", 3)
    world.settle()
    assert [type(one.rows).__name__ for one in world.view(0).blocks] == ["Spilled", "Resident"]

    def readers():
        return {thread for thread in threading.enumerate() if thread.name.startswith("read_")}

    async def run():
        before = readers()
        async with client(world) as stub:
            await read(stub, request(asked))
            assert bool(readers() - before) is threaded

    asyncio.run(run())


def test_columns_come_as_asked_and_only_rows_that_match(world):
    async def run():
        predicate = to_proto(Predicate(symbols=("CCC",)))
        asked = request((0, 0, None), columns=["price", "stream_id", "symbol"], predicate=predicate)
        async with client(world) as stub:
            _, batches, trailer = await read(stub, asked)
        table = pa.Table.from_batches(batches)
        assert table.column_names == ["price", "stream_id", "symbol"]
        assert table["symbol"].to_pylist() == ["CCC"] * 3
        assert trailer.rows == 3

    asyncio.run(run())


def test_an_answer_without_rows_still_has_its_schema(world):
    async def run():
        async with client(world) as stub:
            header, batches, trailer = await read(stub, request((0, 9, 9)))
        assert (batches, trailer.rows) == ([], 0)
        assert (header.ranges[0].from_offset, header.ranges[0].to_offset) == (9, 9)

    asyncio.run(run())


def test_a_partition_that_is_not_held_is_said_to_be_so_and_others_are_given(world):
    async def run():
        async with client(world) as stub:
            header, _, trailer = await read(stub, request((7, 0, 5), (1, 0, None)))
        assert [part.unassigned for part in header.ranges] == [True, False]
        assert trailer.rows == 4

    asyncio.run(run())


def test_a_read_waits_for_offsets_that_come_and_gives_no_more_than_was_asked(world):
    async def run():
        async with client(world) as stub:
            reading = asyncio.ensure_future(read(stub, request((0, 5, 11), (1, 0, None))))
            while not world.tail._published.__self__._waiting:
                await asyncio.sleep(0)
            world.send("AAA", 1)
            world.send("BBB", 5)  # `to` of partition 1 was fixed before
            world.read()
            world.send("AAA", 5)
            world.read()
            header, _, trailer = await reading
        assert [(part.from_offset, part.to_offset) for part in header.ranges] == [(5, 11), (0, 4)]
        assert trailer.rows == 10

    asyncio.run(run())


def test_a_read_that_is_not_reached_covers_less_and_is_there_before_the_deadline(world):
    async def run():
        async with client(world) as stub:
            while True:  # the margin is for an answer's way, not for a machine that is busy elsewhere
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return await read(stub, request((0, 5, 1_000)), seconds=0.5)

    header, _, trailer = asyncio.run(run())
    assert (header.ranges[0].from_offset, header.ranges[0].to_offset, trailer.rows) == (5, 9, 4)


def test_a_read_without_a_deadline_waits_no_longer_than_the_longest(world):
    async def run():
        async with client(world, longest_read_seconds=0.3) as stub:
            header, _, _ = await asyncio.wait_for(read(stub, request((0, 5, 1_000)), seconds=None), SECONDS)
        assert header.ranges[0].to_offset == 9

    asyncio.run(run())


def test_a_partition_that_is_not_read_any_more_is_not_waited_for(world):
    async def run():
        world.put((await asyncio.to_thread(world.view)).topic, b"\x00\x00\x00\x03\xe7later")
        world.read()
        async with client(world) as stub:
            header, _, _ = await asyncio.wait_for(read(stub, request((0, 5, 11)), seconds=600), SECONDS)
        assert (header.ranges[0].to_offset, header.ranges[0].stopped) == (9, "UNREADABLE")

    asyncio.run(run())


def test_while_reading_pauses_nothing_is_waited_for(world):
    async def run():
        world.store.full = True
        world.store.publish()
        async with client(world) as stub:
            header, _, _ = await asyncio.wait_for(read(stub, request((0, 5, 11)), seconds=600), SECONDS)
        assert (header.ranges[0].to_offset, header.ranges[0].stopped) == (9, "PAUSED")

    asyncio.run(run())


def test_a_range_says_since_when_its_first_record_waits_and_when_the_end_was_known(world):
    world.ends.poll()
    world.read()
    times = world.rows().filter(pl.col("kafka_partition") == 0)["kafka_timestamp"].to_physical().to_list()
    world.now_us += 20_000
    world.send("AAA", 1)
    world.read()

    async def run():
        async with client(world) as stub:
            headers = [(await read(stub, request((0, first, None))))[0] for first in (0, 9, 10, 99)]
        return [header.ranges[0] for header in headers]

    parts = asyncio.run(run())
    assert [part.committed_append_us for part in parts] == [times[0], world.now_us, 0, 0]
    assert {(part.stopped, part.end_as_of_us) for part in parts} == {("", world.now_us - 21_000)}


def test_what_was_lost_while_an_answer_was_given_shows_in_its_last_epoch(world):
    async def run():
        world.send("AAA", 20_000)
        world.read()
        async with client(world) as stub:
            call = aiter(stub.ReadRanges(request((0, 0, None)), timeout=SECONDS))
            header = (await anext(call)).header
            await anext(call)  # more rows than a connection holds are still to come
            world.tail.drop(RecordKind.TRADES, world.view().where)
            world.store.publish()
            parts = [part async for part in call]
        assert header.epoch != parts[-1].trailer.epoch == world.store.now.epoch
        assert parts[-1].trailer.rows == 20_009

    asyncio.run(run())


async def refusal(stub, asked, seconds=SECONDS):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read(stub, asked, seconds)
    error = rpc_error(raised.value)
    return error.code, error.field, error.message


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (request(table="shed"), "table", "table was 'shed', must be one of trades, quotes"),
        (request(columns=["pryce"]), "columns", "column was 'pryce', must be one of stream_id"),
        (request((0, -1, 5)), "ranges", "range of partition 1.0 was [-1, 5), must be"),
        (request((0, 7, 5)), "ranges", "range of partition 1.0 was [7, 5), must be"),
        (request((0, 0, 5), (0, 3, 9)), "ranges", "partition 1.0 was named twice, must be named once"),
        (request(max_rows=-1), "max_rows", "max_rows was -1, must be 0 or more"),
        (
            request(predicate=to_proto(Predicate(symbols=("A",) * 3, from_us=5)), columns=["price"] * 2),
            "columns",
            "must be named once each",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(world, asked, field, said):
    async def run():
        async with client(world) as stub:
            return await refusal(stub, asked)

    code, found, message = asyncio.run(run())
    assert (code, found) == (market_data_pb2.ERROR_CODE_INVALID, field)
    assert said in message


def test_more_rows_than_allowed_are_refused(world):
    async def run():
        async with client(world) as stub:
            _, _, trailer = await read(stub, request((0, 0, None), max_rows=9))
            assert trailer.rows == 9
            return await refusal(stub, request((0, 0, None), max_rows=8))

    code, field, message = asyncio.run(run())
    assert (code, field) == (market_data_pb2.ERROR_CODE_TOO_COSTLY, "max_rows")
    assert message == "rows were 9 or more, must be at most 8 (max_rows)"


def test_a_small_answer_is_one_message_to_who_accepts_that(world):
    async def run():
        async with client(world) as stub:
            apart = await read(stub, request((0, 0, None), (1, 1, 3)))
            asked = request((0, 0, None), (1, 1, 3), accepts_whole=True)
            [only] = [part async for part in stub.ReadRanges(asked, timeout=SECONDS)]
            nothing = request((0, 9, 9), accepts_whole=True)
            [empty] = [part async for part in stub.ReadRanges(nothing, timeout=SECONDS)]
        return apart, only.whole, empty.whole

    (header, batches, trailer), whole, empty = asyncio.run(run())
    assert (whole.header, whole.trailer) == (header, trailer)
    assert pa.Table.from_batches(decode([whole.arrow])) == pa.Table.from_batches(batches)
    assert (empty.arrow, empty.trailer.rows, len(empty.header.ranges)) == (b"", 0, 1)


def test_a_large_answer_comes_in_pieces_to_who_accepts_one_message_too(world):
    async def run():
        world.send("AAA", 20_000)
        world.read()
        async with client(world) as stub:
            header, _, trailer = await read(stub, request((0, 0, None), accepts_whole=True))
        assert header.epoch == trailer.epoch
        assert trailer.rows > 20_000

    asyncio.run(run())


def test_the_first_rows_of_all_partitions_are_among_those_given(world):
    async def run():
        nearest = tail_pb2.Nearest(rows=3, latest=True)
        async with client(world) as stub:
            _, batches, trailer = await read(stub, request((0, 0, None), (1, 0, None), nearest=nearest))
        newest = world.rows().sort("timestamp", descending=True).head(3)
        given = in_order(batches, RecordKind.TRADES)
        assert set(newest["source_sequence"]) <= set(given["source_sequence"])
        assert 3 <= trailer.rows < len(world.rows())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("table", "rows", "field", "message"),
    [
        ("trades", 0, "nearest.rows", "nearest.rows was 0, must be 1 or more"),
        ("trades", -1, "nearest.rows", "nearest.rows was -1, must be 1 or more"),
        (
            "feed_events",
            1,
            "nearest",
            "nearest was asked of feed_events, must be of a table in the order of time: trades, quotes",
        ),
    ],
)
def test_nearest_that_makes_no_sense_is_refused(world, table, rows, field, message):
    async def run():
        async with client(world) as stub:
            return await refusal(stub, request(table=table, nearest=tail_pb2.Nearest(rows=rows)))

    assert asyncio.run(run()) == (market_data_pb2.ERROR_CODE_INVALID, field, message)


def test_reads_beyond_the_limit_are_sent_to_a_peer_and_places_become_free(world):
    async def run():
        async with client(world, concurrent_reads=1, waiting_reads=1) as stub:
            held = [stub.ReadRanges(request((0, 0, 1_000)), timeout=SECONDS) for _ in range(2)]
            while len(world.tail._published.__self__._waiting) < 2:
                await asyncio.sleep(0)
            code, _, message = await refusal(stub, request((0, 0, 5)))
            for call in held:
                call.cancel()
            while True:
                try:
                    return code, message, await read(stub, request((0, 0, 5)))
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE

    code, message, (_, _, trailer) = asyncio.run(run())
    assert code == market_data_pb2.ERROR_CODE_UNAVAILABLE
    assert "reads under way were 2, must be at most 2: ask a peer" in message
    assert trailer.rows == 5


def test_watermarks_say_what_is_held_and_between_which_times(world):
    async def run():
        async with client(world) as stub:
            trades = await stub.GetWatermarks(tail_pb2.GetWatermarksRequest(table="trades"), timeout=SECONDS)
            quotes = await stub.GetWatermarks(tail_pb2.GetWatermarksRequest(table="quotes"), timeout=SECONDS)
        return trades, quotes

    trades, quotes = asyncio.run(run())
    assert list(quotes.partitions) == []
    assert trades.epoch == world.store.now.epoch
    first, second = trades.partitions
    assert (first.lo, first.hi, first.end, first.committed, first.ready) == (0, 9, 9, 0, True)
    assert (second.partition, second.topic, second.hi) == (1, world.topic, 4)
    rows = world.rows().filter(pl.col("kafka_partition") == 0)
    assert first.min_event_us == rows["timestamp"].to_physical().min()
    assert first.max_receive_us == rows["ingestion_timestamp"].to_physical().max()
    assert first.append_us == rows["kafka_timestamp"].to_physical().max()
    assert (first.end_as_of_us, first.stopped) == (world.now_us, "")


def test_large_answers_come_in_pieces_of_about_a_megabyte(world):
    async def run():
        world.send("AAA", 20_000)
        world.read()
        async with client(world) as stub:
            call = stub.ReadRanges(request((0, 0, None)), timeout=SECONDS)
            return [len(part.arrow) async for part in call if part.WhichOneof("part") == "arrow"]

    sizes = asyncio.run(run())
    assert len(sizes) >= 3
    assert all(250_000 < size < 1_400_000 for size in sizes[:-1])
    assert row_schema(RecordKind.TRADES)
