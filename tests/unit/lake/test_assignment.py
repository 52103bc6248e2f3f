"""What must agree before a partition is read into a table, and what is said where it does not."""

import pytest

from seamark.lake.assignment import Found, check_log, check_topic, find_logs
from seamark.lake.checkpoint import Checkpoint, StreamPartition
from seamark.lake.streams import Stream
from seamark.stream.errors import Stopped
from seamark.stream.log import Bounds, TopicPartition
from twins.log import MemoryLog

TOPIC = "market.crypto.trades.binance"
WHERE = TopicPartition(TOPIC, 0)
H = 90


@pytest.fixture
def log():
    made = MemoryLog()
    made.create(TOPIC, 2)
    return made


@pytest.fixture
def stream(log):
    return Stream(3, "memory", log.topic_id(TOPIC), TOPIC, 2, (0, 0), "{}", "hash")


def test_the_topic_that_the_stream_was_read_from_passes(log, stream):
    check_topic(log, stream)


def test_a_topic_made_anew_is_to_be_adopted(log, stream):
    log.create(TOPIC, 2)
    with pytest.raises(Stopped, match="was re-created. Way on: adopt .* --succeeds 3 --lost"):
        check_topic(log, stream)


def test_a_deleted_topic_is_to_be_made_before_it_can_be_adopted(log, stream):
    del log.topics[TOPIC]
    with pytest.raises(Stopped, match="was deleted. Way on: init .*, then adopt .* --succeeds 3 --lost"):
        check_topic(log, stream)


def point(next_offset=H, leader_epoch=0):
    return Checkpoint(next_offset, leader_epoch, "batch", 1, 0)


def append(log, count, where=WHERE):
    for _ in range(count):
        log.append(where, b"", 0)


def check(log, checkpoint):
    check_log(StreamPartition(3, 0), WHERE, checkpoint, find_logs(log, {WHERE: checkpoint})[WHERE])


@pytest.mark.parametrize("kept", [H, 100])
def test_a_log_truncated_above_h_passes(log, kept):
    append(log, 100)
    log.truncate(WHERE, kept)
    append(log, 20)
    check(log, point())


def test_h_above_the_logs_end_stops(log):
    append(log, H - 1)
    with pytest.raises(Stopped, match=r"H was 90, the log ends at 89: .* Way on: adopt .* --succeeds 3$"):
        check(log, point())


@pytest.mark.parametrize("kept", [0, 50, H - 1])
@pytest.mark.parametrize("again", [H, 150])
def test_a_log_truncated_below_h_stops_although_it_has_grown_past_h(log, kept, again):
    append(log, 100)
    log.truncate(WHERE, kept)
    append(log, again - kept)
    with pytest.raises(
        Stopped,
        match=r"binance-0: H was 90, the record below it has leader epoch 1, must have 0 as when it was read: "
        r"the log was truncated. Way on: adopt market.crypto.trades.binance --succeeds 3$",
    ):
        check(log, point())


def test_the_epoch_is_that_of_the_record_and_not_the_leaders(log):
    append(log, H)
    log.truncate(WHERE, H)  # nothing is lost, the leader is another one
    append(log, 10)
    assert log.leader_epoch(WHERE) == 1
    check(log, point())
    check(log, point(H + 10, 1))


@pytest.mark.parametrize(
    ("checkpoint", "begins"),
    [(point(0, -1), 0), (point(H, -1), 0), (point(), H), (point(), H + 5)],
    ids=["the stream's start", "no epoch is known", "H is the log's start", "the log begins behind H"],
)
def test_where_no_record_can_be_compared_none_is_asked_for(log, checkpoint, begins, monkeypatch):
    append(log, 100)
    log.truncate(WHERE, 50)
    append(log, 50)
    log.topics[TOPIC].start[0] = begins
    monkeypatch.delattr(MemoryLog, "epochs_at")
    check(log, checkpoint)


def test_one_question_is_asked_for_all_partitions(log):
    asked = []

    class Asked(MemoryLog):
        def epochs_at(self, offsets):
            asked.append(offsets)
            return super().epochs_at(offsets)

    other, empty = TopicPartition(TOPIC, 1), TopicPartition("other", 0)
    cluster = Asked(log.topics)
    cluster.create("other", 1)
    append(cluster, 100)
    append(cluster, 7, other)
    found = find_logs(cluster, {WHERE: point(), other: point(7), empty: point(0, -1)})
    assert asked == [{WHERE: 89, other: 6}]
    assert found == {
        WHERE: Found(Bounds(0, 100), 0),
        other: Found(Bounds(0, 7), 0),
        empty: Found(Bounds(0, 0), None),
    }


def test_a_log_whose_beginning_moves_while_it_is_asked_is_judged_by_where_it_is_then(log):
    class Moves(MemoryLog):
        def epochs_at(self, offsets):
            self.topics[TOPIC].start[0] = H + 3
            return super().epochs_at(offsets)

    append(log, 100)
    moving = Moves(log.topics)
    assert find_logs(moving, {WHERE: point()}) == {WHERE: Found(Bounds(H + 3, 100), None)}
    check(moving, point())


def test_a_log_without_the_record_below_h_stops():
    with pytest.raises(
        Stopped, match=r"H was 90, the log has offsets 10 to 119 but none at 89: the log was truncated"
    ):
        check_log(StreamPartition(3, 0), WHERE, point(), Found(Bounds(10, 120), None))
