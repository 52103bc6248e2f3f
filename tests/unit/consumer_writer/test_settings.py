"""A wrong setting ends the process with one line that says what is allowed."""

import pytest

from seamark.consumer_writer.settings import WriterSettings

GOOD = {
    "SEAMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "SEAMARK_CATALOG_URI": "http://127.0.0.1:8181",
    "SEAMARK_STATE_URI": "s3://states/writer",
}


@pytest.fixture
def load(monkeypatch, capsys):
    """Settings of an environment, or the lines that refuse it."""

    def load(**changed):
        for name, value in {**GOOD, **{f"SEAMARK_{name}": value for name, value in changed.items()}}.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        try:
            return WriterSettings.load()
        except SystemExit as ended:
            assert ended.code == 2
            return capsys.readouterr().err.splitlines()

    return load


def test_three_settings_are_enough(load):
    settings = load()
    assert (settings.flush_seconds, settings.flush_bytes) == (60.0, 36 * 2**20)
    assert (settings.target_snapshots, settings.snapshot_min_age_seconds) == (60, 900.0)
    assert (settings.partitioning, settings.on_log_start) == ("hour(timestamp)", "stop")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("KAFKA_BOOTSTRAP", "localhost", "must be host:port of Kafka brokers"),
        (
            "CATALOG_URI",
            "ftp://x",
            "must be the address of an Iceberg REST catalog, with http:// or https://",
        ),
        ("CATALOG_NAMESPACE", "Market", "must be lower-case letters, digits, _"),
        ("STATE_URI", "/tmp/states", "must be s3://bucket/folder or file:///folder"),
        ("STATE_URI", "s3://", "must be s3://bucket/folder or file:///folder"),
        ("STATE_URI", "file://states", "must be s3://bucket/folder or file:///folder"),
        ("FLUSH_SECONDS", "0", "must be more than 0 and at most 600 seconds"),
        ("FLUSH_SECONDS", "601", "must be more than 0 and at most 600 seconds"),
        ("FLUSH_SECONDS", "nan", "must be more than 0 and at most 600 seconds"),
        ("FLUSH_SECONDS", "soon", "must be more than 0 and at most 600 seconds"),
        ("FLUSH_BYTES", "1000", "must be 1048576 to 4294967296 bytes"),
        ("COMMITTED_AGE_OBJECTIVE_SECONDS", "-1", "must be seconds; 0 means twice the flush interval"),
        ("POLL_RECORDS", "0", "must be 1 to 1000000 records"),
        ("ON_LOG_START", "skip", "must be stop, or lost to record offsets"),
        (
            "PARTITIONING",
            "identity(symbol)",
            "must be hour(timestamp) or day(timestamp), and bucket(N, symbol)",
        ),
        (
            "PARTITIONING",
            "hour(timestamp), bucket(0, symbol)",
            "must be hour(timestamp) or day(timestamp), and",
        ),
        ("TARGET_SNAPSHOTS", "1", "must be 2 to 10000 snapshots"),
        ("SNAPSHOT_MIN_AGE_SECONDS", "-1", "must be 0 or more seconds"),
        ("STATE_RETENTION_SECONDS", "x", "must be 0 or more seconds"),
        ("PARTITIONS", "0", "must be 1 to 10000 partitions"),
        ("REPLICATION_FACTOR", "11", "must be 1 to 10 replicas"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(load, name, value, allowed):
    (line,) = load(**{name: value})
    assert line.startswith(f"SEAMARK_{name} was '{value}', ")
    assert allowed in line


@pytest.mark.parametrize("name", [name.removeprefix("SEAMARK_") for name in GOOD])
def test_what_must_be_set_is_named(load, name):
    (line,) = load(**{name: None})
    assert line.startswith(f"SEAMARK_{name} is not set, must be ")


def test_each_wrong_value_has_its_line(load):
    lines = load(STATE_URI="x", POLL_RECORDS="0", PARTITIONING="x")
    assert [line.split()[0] for line in sorted(lines)] == [
        "SEAMARK_PARTITIONING",
        "SEAMARK_POLL_RECORDS",
        "SEAMARK_STATE_URI",
    ]


def test_a_flush_longer_than_the_objective_is_refused(load):
    (line,) = load(FLUSH_SECONDS="61", COMMITTED_AGE_OBJECTIVE_SECONDS="60")
    assert line == (
        "SEAMARK_FLUSH_SECONDS was 61.0, must be at most SEAMARK_COMMITTED_AGE_OBJECTIVE_SECONDS (60.0)"
    )
    assert load(FLUSH_SECONDS="60", COMMITTED_AGE_OBJECTIVE_SECONDS="60").flush_seconds == 60


def test_secrets_are_not_shown(load):
    settings = load(S3_SECRET_ACCESS_KEY="hidden", CATALOG_CREDENTIAL="id:hidden")
    assert "hidden" not in repr(settings)
    assert settings.catalog_properties()["s3.secret-access-key"] == "hidden"


def test_catalog_properties_name_only_what_is_set(load):
    assert load().catalog_properties() == {
        "type": "rest",
        "uri": GOOD["SEAMARK_CATALOG_URI"],
        "s3.region": "us-east-1",
    }
    properties = load(S3_ENDPOINT="http://127.0.0.1:9000").catalog_properties()
    assert properties["s3.endpoint"] == "http://127.0.0.1:9000"
    assert properties["s3.force-virtual-addressing"] == "false"
