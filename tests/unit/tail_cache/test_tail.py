"""A tail on a log, beside a writer and its table: what it holds, gives up, and takes up again."""

import dataclasses
import shutil

import pytest
from polars.testing import assert_frame_equal

from seamark.consumer_writer.adopt import adopt_at_snapshot
from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CatalogUnavailable
from seamark.sequencing.state import PartitionState, dump
from seamark.stream.errors import LogUnavailable
from seamark.stream.log import TopicPartition
from seamark.tail_cache.blocks import INDEXED_ROWS
from seamark.tail_cache.partition import Stop
from twins.lake import Answer
from unit.tail_cache.world import PARTITIONS, RETENTION_SECONDS, World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "spill")


def offsets(world, partition=0, stream_id=1):
    rows = world.rows()
    mine = rows.filter((rows["kafka_partition"] == partition) & (rows["stream_id"] == stream_id))
    return mine["kafka_offset"].to_list()


def mixed(world):
    """Ten offsets of partition 0: rows, repeats and a dead letter."""
    world.send("AAA", 4)
    world.repeat(1)
    world.repeat(3)
    world.poison()
    world.send("CCC", 3)


# What is held


def test_the_rows_held_are_the_rows_that_the_writer_commits(world):
    mixed(world)
    world.send("BBB", 5)
    world.settle()
    held = world.rows()
    assert offsets(world) == [0, 1, 2, 3, 7, 8, 9]
    assert {where: (view.lo, view.hi) for where, view in world.views.items()} == {
        StreamPartition(1, 0): (0, 10),
        StreamPartition(1, 1): (0, 5),
    }
    world.commit()
    assert_frame_equal(held, world.committed_rows())


def test_a_tail_begins_at_the_checkpoint_with_its_state(world):
    mixed(world)
    world.commit()
    world.repeat(2)
    world.send("AAA")
    world.settle()
    assert world.view().lo == 10
    assert offsets(world) == [11]


def test_a_partition_is_ready_past_the_end_that_was_seen_when_it_began(world):
    world.send("AAA", 3)
    world.follower.poll()
    world.tail._changes()
    world.store.publish()
    assert not world.view().ready
    assert not world.follower.settled
    world.send("AAA", 3)
    world.read()
    world.follow()
    assert world.view().ready
    assert world.follower.settled


def test_rows_stay_for_the_retention_after_their_commit_was_seen(world):
    mixed(world)
    world.settle()
    world.commit()
    world.follow()
    world.follow(RETENTION_SECONDS - 1)
    assert world.view().lo == 0
    world.follow(1)
    world.read()
    assert (world.view().lo, world.view().hi) == (10, 10)
    assert world.view().blocks == ()


def test_nothing_goes_that_is_not_committed(world):
    mixed(world)
    world.settle()
    world.commit()
    world.send("AAA", 4)
    for _ in range(5):
        world.follow(RETENTION_SECONDS)
    assert (world.view().lo, world.view().hi) == (10, 14)
    assert offsets(world) == [10, 11, 12, 13]


def test_while_the_catalog_is_down_all_stays_and_reading_goes_on(world):
    world.send("AAA", 3)
    world.settle()
    world.commit()
    world.send("AAA", 2)
    for _ in range(3):
        world.table.answer = Answer.UNAVAILABLE
        with pytest.raises(CatalogUnavailable):
            world.follow(RETENTION_SECONDS)
        world.read()
    assert (world.view().lo, world.view().hi, world.view().committed.next) == (0, 5, 0)
    world.follow()
    world.follow(RETENTION_SECONDS)
    world.read()
    assert world.view().committed.next == 3
    assert offsets(world)[-2:] == [3, 4]


def test_a_partition_that_cannot_be_read_stops_alone(world):
    world.send("AAA", 2)
    world.put(TopicPartition(world.topic, 0), b"\x00\x00\x00\x03\xe7later")
    world.send("AAA", 2)
    world.send("BBB", 3)
    world.settle()
    world.send("BBB", 1)
    world.follow()
    assert (world.view(0).hi, world.view(0).stopped) == (2, Stop.UNREADABLE)
    assert (world.view(1).hi, world.view(1).stopped) == (4, None)
    assert offsets(world) == [0, 1]


# Where the log ends


def ask_for_the_ends(world):
    """A second later."""
    world.now_us += 1_000_000
    world.ends.poll()
    world.read()


def known(world, partition=0):
    """The log's end, and how long ago it was known to be there."""
    view = world.view(partition)
    return view.end, world.now_us - view.end_as_of_us


def test_the_end_of_an_idle_partition_is_as_old_as_the_last_question(world):
    world.send("AAA", 2)
    world.settle()
    for _ in range(3):
        ask_for_the_ends(world)
        assert (known(world, 0), known(world, 1)) == ((2, 0), (0, 0))
    world.now_us += 700_000
    assert (known(world, 0), world.view().halted) == ((2, 700_000), "")


def test_the_end_moves_on_while_a_record_that_cannot_be_read_stops_the_partition(world):
    world.send("AAA", 2)
    world.put(TopicPartition(world.topic, 0), b"\x00\x00\x00\x03\xe7later")
    world.settle()
    world.send("AAA", 50)
    ask_for_the_ends(world)
    assert (world.view().hi, world.view().halted) == (2, "UNREADABLE")
    assert known(world) == (53, 0)


def test_the_end_moves_on_while_reading_pauses(tmp_path):
    world = World(tmp_path / "spill", memory_bytes=1)
    world.settle()
    shutil.rmtree(tmp_path / "spill")
    world.send("AAA", 3)
    world.read()
    world.send("AAA", 2)
    ask_for_the_ends(world)
    assert (world.view().hi, world.view().halted) == (3, "PAUSED")
    assert known(world) == (5, 0)
    (tmp_path / "spill").mkdir()
    world.read()
    assert world.view().halted == ""


@pytest.mark.parametrize("change", ["truncated", "created anew", "grown anew"])
def test_an_end_that_says_nothing_of_what_was_read_does_not_count(world, change):
    world.send("AAA", 6)
    world.settle()
    ask_for_the_ends(world)
    before_us = world.view().end_as_of_us
    if change == "truncated":
        world.log.truncate(TopicPartition(world.topic, 0), 4)
    else:
        world.log.create(world.topic, PARTITIONS)
        if change == "grown anew":
            world.send("AAA", 8)
            world.identity.poll()
    for _ in range(3):
        ask_for_the_ends(world)
    assert world.view().halted == ("FOREIGN_TOPIC" if change == "grown anew" else "LOG_LOST")
    assert world.view().end_as_of_us == before_us


def test_an_end_that_no_leader_says_grows_old_and_that_is_said_once(world, monkeypatch, caplog):
    def no_leader(log, topic, partitions):
        raise LogUnavailable("no leader")

    world.settle()
    ask_for_the_ends(world)
    with monkeypatch.context() as patched:
        patched.setattr(type(world.log), "ends", no_leader)
        for _ in range(3):
            ask_for_the_ends(world)
    assert known(world) == (0, 3_000_000)
    assert caplog.messages.count("the logs' ends are not known") == 1
    ask_for_the_ends(world)
    assert known(world) == (0, 0)


# Counters


def test_a_state_that_differs_from_the_writers_is_found_at_the_next_commit_and_dropped(world, caplog):
    mixed(world)
    world.commit()
    forgetful = {f"1.{partition}": PartitionState(append_us=world.now_us) for partition in range(PARTITIONS)}
    for name in world.named():
        world.states.files[name] = dump(forgetful)
    world.start_tail()
    world.settle()
    epoch = world.store.now.epoch
    world.repeat(3)  # a row to who has forgotten the first
    world.read()
    assert offsets(world) == [10]

    world.commit()
    world.follow()
    world.read()
    assert StreamPartition(1, 0) not in world.views
    assert StreamPartition(1, 1) in world.views
    assert world.store.now.epoch != epoch
    assert "counters differ from the commit's: partition dropped" in caplog.messages
    assert world.metrics.counter_mismatches.labels("trades")._value.get() == 1

    world.send("AAA", 1)
    world.settle()
    assert world.view().lo == 11
    assert offsets(world) == [11]


def test_offsets_that_a_commit_takes_out_of_history_drop_what_is_held(world, caplog):
    mixed(world)
    world.commit()
    world.log.topics[world.topic].start[0] = 12
    world.send("AAA", 5)
    world.start_tail()
    world.settle()
    assert "the log begins behind H: records between are lost" in caplog.messages
    assert (world.view().lo, world.view().hi) == (12, 15)
    world.start_writer(on_log_start="lost")
    world.commit()
    world.follow()
    world.read()
    assert StreamPartition(1, 0) not in world.views
    world.settle()
    assert (world.view().lo, world.view().committed.counters.lost) == (15, 2)
    assert world.metrics.counter_mismatches.labels("trades")._value.get() == 0


# Logs that are not what they were


def test_of_a_recreated_topic_nothing_is_served_that_was_not_known_to_be_the_streams(world, caplog):
    world.send("AAA", 6)
    world.settle()
    world.identity.poll()
    world.read()
    epoch = world.store.now.epoch
    world.log.create(world.topic, PARTITIONS)
    world.send("AAA", 9)  # three of them take the next offsets
    world.read()
    assert world.view().hi == 9
    world.identity.poll()
    world.read()
    assert (world.view().lo, world.view().hi, world.view().stopped) == (0, 6, Stop.FOREIGN_TOPIC)
    assert offsets(world) == [0, 1, 2, 3, 4, 5]
    assert world.store.now.epoch != epoch
    world.follow()
    world.send("AAA", 1)
    world.follow()
    assert (world.view().hi, world.follower.settled) == (6, True)
    assert any("was re-created" in str(record.__dict__.get("reason")) for record in caplog.records)


def test_the_successor_of_a_recreated_topic_is_taken_up_and_its_predecessor_let_go(world):
    world.send("AAA", 6)
    world.settle()
    world.log.create(world.topic, PARTITIONS)
    world.identity.poll()
    world.follow()
    world.adopt(succeeds=1, lost=True)
    for where, value in world.sent:  # known, over the change of topics
        world.log.append(where, value, world.now_us)
    world.send("AAA", 2)
    world.settle()
    assert world.view(0, 1).stopped is Stop.CLOSED
    assert (world.view(0, 2).lo, world.view(0, 2).hi) == (0, 8)
    world.follow(RETENTION_SECONDS)
    world.read()
    assert {where.stream_id for where in world.views} == {2}
    world.start_writer()
    world.commit()
    world.follow()
    assert world.metrics.counter_mismatches.labels("trades")._value.get() == 0
    assert world.view(0, 2).committed.next == 8


def test_a_log_truncated_above_the_checkpoint_is_read_anew_from_there(world):
    mixed(world)
    world.commit()
    world.send("AAA", 5)
    world.settle()
    assert world.view().hi == 15
    world.log.truncate(TopicPartition(world.topic, 0), 12)
    world.read()
    world.read()
    assert world.view().stopped is Stop.LOG_LOST
    world.ids["AAA"] -= 3
    world.send("AAA", 4)
    world.settle()
    assert (world.view().lo, world.view().hi, world.view().stopped) == (10, 16, None)
    held = world.rows()
    world.start_writer()
    world.commit()
    committed = world.committed_rows()
    assert_frame_equal(
        held.filter(held["kafka_partition"] == 0),
        committed.filter((committed["kafka_partition"] == 0) & (committed["kafka_offset"] >= 10)),
    )


@pytest.mark.parametrize("grown", [0, 40])
def test_of_a_log_truncated_below_the_checkpoint_nothing_is_served(world, grown):
    mixed(world)
    world.commit()
    world.send("AAA", 5)
    world.settle()
    world.log.truncate(TopicPartition(world.topic, 0), 5)
    world.send("AAA", grown)
    world.read()
    world.follow()
    world.read()
    assert StreamPartition(1, 0) not in world.views
    assert "the log was truncated" in world.follower.refused[StreamPartition(1, 0)]
    assert world.follower.settled


def test_a_tail_that_starts_on_a_log_truncated_below_the_checkpoint_refuses_it_though_it_has_grown(world):
    mixed(world)
    world.commit()
    world.log.truncate(TopicPartition(world.topic, 0), 5)
    world.send("AAA", 40)
    world.start_tail()
    world.settle()
    assert list(world.views) == [StreamPartition(1, 1)]
    assert "the record below it has leader epoch 1" in world.follower.refused[StreamPartition(1, 0)]
    assert world.follower.settled


# Tables that are not what they were


def test_a_table_that_was_rolled_back_is_not_followed_until_it_is_adopted(world, caplog):
    mixed(world)
    world.commit()
    before = world.table.head
    world.send("AAA", 5)
    world.settle()
    world.commit()
    world.follow()
    world.follow(RETENTION_SECONDS)
    world.read()
    assert world.view().lo == 15
    world.table.roll_back(before)
    world.send("AAA", 1)
    world.follow()
    assert "table not followed" in caplog.messages
    assert world.metrics.table_unusable.labels("trades")._value.get() == 1
    assert (world.view().lo, world.view().hi, world.view().committed.next) == (15, 16, 15)

    adopt_at_snapshot(world.table, before)
    world.settle()
    assert (world.view().lo, world.view().hi, world.view().committed.next) == (10, 16, 10)
    assert offsets(world) == [10, 11, 12, 13, 14, 15]


def test_a_foreign_snapshot_is_said_and_the_checkpoints_are_followed(world, caplog):
    mixed(world)
    world.settle()
    world.commit()
    world.table.foreign_append()
    world.follow()
    assert "foreign snapshot" in caplog.messages
    assert world.metrics.table_unusable.labels("trades")._value.get() == 1
    assert world.view().committed.next == 10

    world.send("AAA", 1)
    world.commit()
    world.follow()
    assert world.metrics.table_unusable.labels("trades")._value.get() == 1
    assert world.view().committed.next == 11
    adopt_at_snapshot(world.table, world.table.head)
    world.follow()
    assert world.metrics.table_unusable.labels("trades")._value.get() == 0


def test_a_table_that_was_replaced_is_not_followed(world, caplog):
    mixed(world)
    world.settle()
    world.table.uuid = "another"
    world.follow()
    assert any("the table was replaced" in str(record.__dict__.get("reason")) for record in caplog.records)
    assert offsets(world)


def test_compaction_changes_nothing(world):
    mixed(world)
    world.settle()
    world.commit()
    world.table.compact()
    world.follow()
    assert world.metrics.table_unusable.labels("trades")._value.get() == 0
    assert world.view().committed.next == 10


# Memory


def test_rows_beyond_the_cap_are_on_disk_and_read_as_before(tmp_path):
    world = World(tmp_path / "spill", memory_bytes=1)
    mixed(world)
    world.settle()
    held = world.rows()
    files = list((tmp_path / "spill").glob("*.arrow"))
    assert files
    assert world.store.memory_bytes <= 1
    assert offsets(world) == [0, 1, 2, 3, 7, 8, 9]
    world.commit()
    assert_frame_equal(held, world.committed_rows())
    world.follow()
    world.follow(RETENTION_SECONDS)
    world.read()
    assert not any(path.exists() for path in files)


def test_an_index_takes_of_the_memory_that_rows_may_take(tmp_path):
    world = World(tmp_path / "spill")
    world.send("AAA", INDEXED_ROWS)
    world.settle()
    rows_alone = world.store._cap_bytes = world.store.memory_bytes
    world.read()
    assert list((tmp_path / "spill").glob("*.arrow")) == []
    [block] = world.view().blocks
    assert block.symbols is not None
    assert world.store.memory_bytes == rows_alone + block.symbols.memory_bytes
    world.read()
    assert len(list((tmp_path / "spill").glob("*.arrow"))) == 1
    assert world.view().blocks[0].symbols.memory_bytes == world.store.memory_bytes == world.spill.index_bytes


def test_while_the_disk_takes_nothing_reading_pauses_and_what_is_held_is_served(tmp_path, caplog):
    world = World(tmp_path / "spill", memory_bytes=1)
    world.settle()
    shutil.rmtree(tmp_path / "spill")
    world.send("AAA", 3)
    world.read()
    world.send("AAA", 2)
    world.read()
    assert world.store.full
    assert world.feed.paused
    assert "rows cannot be spilled, reading pauses" in caplog.messages
    assert offsets(world) == [0, 1, 2]
    (tmp_path / "spill").mkdir()
    world.read()
    world.read()
    assert not world.feed.paused
    assert offsets(world) == [0, 1, 2, 3, 4]


def test_a_topic_wider_than_its_stream_is_said_once(world, caplog):
    world.settle()
    world.log.grow(world.topic)
    world.identity.poll()
    world.identity.poll()
    said = [message for message in caplog.messages if "more partitions than its stream" in message]
    assert len(said) == 1
    assert set(world.views) == {StreamPartition(1, 0), StreamPartition(1, 1)}


def test_a_partition_without_a_stream_checkpoint_is_refused_with_the_reason(world):
    name = "seamark.checkpoint.1.1"
    del world.table.properties[name]
    head = world.table.snapshots[world.table.head]
    kept = ";".join(head.view.checkpoint_text.split(";")[:2])
    view = dataclasses.replace(head.view, checkpoint_text=kept)
    world.table.snapshots[world.table.head] = dataclasses.replace(head, view=view)
    world.send("AAA")
    world.settle()
    assert list(world.views) == [StreamPartition(1, 0)]
    assert "no checkpoint property for 1.1" in world.follower.refused[StreamPartition(1, 1)]
