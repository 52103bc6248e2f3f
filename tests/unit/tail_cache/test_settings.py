"""A wrong setting ends the process with one line that says what is allowed."""

from pathlib import Path

import pytest

from seamark.tail_cache.settings import TailSettings

GOOD = {
    "SEAMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "SEAMARK_CATALOG_URI": "http://127.0.0.1:8181",
    "SEAMARK_STATE_URI": "s3://states/writer",
    "SEAMARK_SPILL_FOLDER": "/var/spill",
}


@pytest.fixture
def load(monkeypatch, capsys):
    """Settings of an environment, or the lines that refuse it."""

    def load(**changed):
        for name, value in {**GOOD, **{f"SEAMARK_{name}": value for name, value in changed.items()}}.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        try:
            return TailSettings.load()
        except SystemExit as ended:
            assert ended.code == 2
            return capsys.readouterr().err.splitlines()

    return load


def test_four_settings_are_enough(load):
    settings = load()
    assert settings.spill_folder == Path("/var/spill")
    assert (settings.replicas, settings.ordinal, settings.replication) == (1, 0, 1)
    assert settings.pin_retention_seconds == 330.0


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SPILL_FOLDER", None, "must be a folder that no other process uses"),
        ("GRPC_PORT", "70000", "must be a port from 1 to 65535, or 0 for any"),
        ("REPLICAS", "0", "must be 1 to 1000 replicas"),
        ("ORDINAL", "-1", "must be 0 to one below the number of replicas"),
        ("MEMORY_BYTES", "1000", "must be 16777216 to 1099511627776 bytes"),
        ("PIN_RETENTION_SECONDS", "-1", "must be 0 to 3600 seconds: 30 more than the longest deadline"),
        ("LONGEST_READ_SECONDS", "0", "must be more than 0 and at most 600 seconds"),
        ("CONCURRENT_READS", "0", "must be 1 to 256 reads"),
        ("WAITING_READS", "-1", "must be 0 to 100000 reads"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(load, name, value, allowed):
    [line] = load(**{name: value})
    assert line.startswith(f"SEAMARK_{name} ")
    assert allowed in line


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ORDINAL": "2", "REPLICAS": "2"}, "SEAMARK_ORDINAL was 2, must be below SEAMARK_REPLICAS (2)"),
        (
            {"REPLICATION": "3", "REPLICAS": "2"},
            "SEAMARK_REPLICATION was 3, must be at most SEAMARK_REPLICAS (2)",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(load, changed, said):
    assert load(**changed) == [said]
