"""What the commands make of their own threads' errors and of a stop that comes early."""

import threading

import pytest

from seamark.consumer_writer.main import sweep
from seamark.consumer_writer.state_cleanup import StateCleanup
from seamark.lake.errors import CatalogUnavailable, CheckpointInvalid, LakeError, StateMissing, TableMissing
from seamark.startup import StartRefused, StoppedAtStart, wait_for
from seamark.stream.errors import LogUnavailable
from twins.lake import MemoryStates, MemoryTable


class FailingTable(MemoryTable):
    """Loads end with these errors, one after the other; when they are used up, `stop` is set."""

    def __init__(self, errors: list[LakeError], stop: threading.Event) -> None:
        super().__init__()
        self.errors, self.stop = errors, stop

    def load(self):
        if self.errors:
            raise self.errors.pop(0)
        self.stop.set()
        return super().load()


def test_whatever_the_lake_answers_state_files_are_swept_again(caplog):
    stop = threading.Event()
    errors: list[LakeError] = [
        kind("no good") for kind in (CatalogUnavailable, TableMissing, CheckpointInvalid, StateMissing)
    ]
    table = FailingTable(errors, stop)
    sweep([StateCleanup(table, MemoryStates(), 0.0)], interval_seconds=0.001, stop=stop)
    assert caplog.messages == ["state files not swept"] * 4


def test_a_stop_while_waiting_at_start_is_no_refusal_of_the_start():
    stop = threading.Event()
    asked = []

    def ask():
        asked.append(1)
        stop.set()
        raise LogUnavailable("nobody there")

    with pytest.raises(StoppedAtStart, match="stopped while waiting for Kafka at host:9092"):
        wait_for("Kafka", "host:9092", ask, 60, stop)
    assert len(asked) == 1


def test_what_does_not_come_in_time_refuses_the_start():
    def ask():
        raise LogUnavailable("nobody there")

    with pytest.raises(StartRefused, match="did not answer within 0 s: nobody there") as refused:
        wait_for("Kafka", "host:9092", ask, 0, threading.Event())
    assert not isinstance(refused.value, StoppedAtStart)
