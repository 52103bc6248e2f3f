"""What must agree before a partition is read into a table, and what is said where it does not."""

import pytest

from seamark.lake.assignment import check_topic
from seamark.lake.streams import Stream
from seamark.stream.errors import Stopped
from twins.log import MemoryLog

TOPIC = "market.crypto.trades.binance"


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
