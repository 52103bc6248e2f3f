"""Runs made of a client's messages keep the leader epoch of each record, however they are cut."""

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from seamark.stream.messages import runs_of


def messages(*epochs):
    return [
        Message(
            topic="t",
            partition=0,
            offset=10 + number,
            value=b"%d" % number,
            timestamp=(TIMESTAMP_LOG_APPEND_TIME, number),
            leader_epoch=epoch,
        )
        for number, epoch in enumerate(epochs)
    ]


@pytest.mark.parametrize("epochs", [(3, 3, 3, 3), (3, 3, 4, 7), (3, 4, 4, 4), (-1, -1, 0, 0)])
def test_a_run_has_the_epoch_of_its_last_record_wherever_it_is_cut(epochs):
    [run] = runs_of(messages(*epochs))
    assert run.leader_epoch == epochs[-1]
    for count in range(1, len(epochs) + 1):
        assert run.until(count).leader_epoch == epochs[count - 1]
        for dropped in range(count):
            assert run.until(count).behind(dropped).leader_epoch == epochs[count - 1]
            assert run.behind(dropped).until(count - dropped).leader_epoch == epochs[count - 1]
