"""Refused records on their way to the dead-letter topic: none is too large, and none ends the writer."""

import hashlib
import logging
import socket
import threading
import time

import numpy as np
import pytest

from seamark.consumer_writer.dead_letters import LARGEST_SENT_BYTES, KafkaDeadLetters
from seamark.stream.deadletter import LeftOut, from_headers
from seamark.stream.errors import LogUnavailable, Stopped
from seamark.stream.log import Run, TopicPartition
from seamark.stream.topics import DEAD_LETTERS
from twins.broker import MockBroker

WHERE = TopicPartition("market.crypto.trades.binance", 3)


def run_of(*values, first=100):
    offsets = np.arange(first, first + len(values))
    return Run(WHERE, offsets, np.zeros(len(values), np.int64), 0, values, [b"BTCUSDT"] * len(values))


def refuse(letters, *values, first=100):
    letters.send(run_of(*values, first=first), dict.fromkeys(range(len(values)), "no record"), stream_id=1)


@pytest.fixture
def broker():
    return MockBroker()


@pytest.fixture
def letters(broker):
    return KafkaDeadLetters(broker.bootstrap)


@pytest.fixture
def nobody():
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def by_offset(broker):
    found = {}
    for message in broker.messages(DEAD_LETTERS):
        letter = from_headers(message.headers())
        found[letter.source.offset] = letter, message
    return found


def test_refused_bytes_are_kept_as_they_were(broker, letters):
    values = [b"", None, b"{}", b"\x00\x00\x00\x00\x01cut", b"{" * 1_000_001, b"\x00" * 1_048_500]
    refuse(letters, *values)
    letters.flush()
    found = by_offset(broker)
    assert [found[100 + at][1].value() for at in range(len(values))] == values
    assert {message.key() for _, message in found.values()} == {b"BTCUSDT"}
    assert {letter.left_out for letter, _ in found.values()} == {None}


def test_bytes_that_no_broker_takes_stay_in_the_log_and_are_named(broker, letters):
    value = b"x" * (LARGEST_SENT_BYTES + 1)
    refuse(letters, b"before", value, b"behind")
    letters.flush()
    found = by_offset(broker)
    assert [found[offset][1].value() for offset in (100, 102)] == [b"before", b"behind"]
    letter, message = found[101]
    assert message.value() is None
    assert message.key() == b"BTCUSDT"
    assert letter.left_out == LeftOut(len(value), hashlib.sha256(value).hexdigest())
    assert (letter.source.offset, letter.error) == (101, "no record")


def test_a_key_too_large_is_left_out_as_well(broker, letters):
    run = run_of(b"value")
    letters.send(
        Run(WHERE, run.offsets, run.append_us, 0, run.values, [b"k" * (LARGEST_SENT_BYTES + 1)]),
        {0: "bad"},
        1,
    )
    letters.flush()
    ((letter, message),) = by_offset(broker).values()
    assert (message.key(), message.value()) == (None, None)
    assert letter.left_out == LeftOut.of(b"value")


def test_more_letters_than_the_clients_queue_holds_wait_for_room(broker, letters, caplog):
    caplog.set_level(logging.ERROR)  # not a line for each
    count = 100_500
    refuse(letters, *[b"x"] * count)
    letters.flush()
    assert len(broker.messages(DEAD_LETTERS)) == count


def test_kafka_that_is_away_is_waited_for_and_a_stop_ends_the_wait(nobody):
    stop = threading.Event()
    letters = KafkaDeadLetters(nobody, stop)
    refuse(letters, b"x")
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match="dead letters are not acknowledged"):
        letters.flush()
    assert 0.3 <= time.monotonic() - began < 2.0
    began = time.monotonic()
    del letters
    assert time.monotonic() - began < 2.0, "the client ends without what it could not send"


def test_a_full_queue_does_not_hold_up_a_stop(nobody, caplog):
    caplog.set_level(logging.ERROR)
    stop = threading.Event()
    letters = KafkaDeadLetters(nobody, stop)
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Stopped, match="stopped while dead letters waited"):
        refuse(letters, *[b"x"] * 100_500)
