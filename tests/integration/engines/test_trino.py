"""What Seamark relies on Trino for: exact values, a pinned snapshot, maintenance that keeps properties."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal

import psutil
import pyarrow as pa
import pytest
from pyiceberg.table import Table
from trino.dbapi import Connection, connect
from trino.exceptions import TrinoQueryError, TrinoUserError

ROWS = pa.schema(
    [
        pa.field("price", pa.decimal128(28, 10)),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("shard", pa.int32()),
        pa.field("symbol", pa.string()),
    ]
)
# The largest, the smallest and the finest that decimal(28,10) holds, and two that no float holds.
PRICES = [
    Decimal(text)
    for text in (
        "999999999999999999.9999999999",
        "-999999999999999999.9999999999",
        "0.0000000001",
        "123456789012345678.0123456789",
        "0.1",
    )
]
AT = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
TRILLIONS_OF_ROWS = " CROSS JOIN ".join(
    f"UNNEST(sequence(1, 10000)) AS t{number} (n{number})" for number in range(4)
)


@pytest.fixture
def connection(trino, lake) -> Iterator[Connection]:
    host, port = trino.address
    with closing(connect(host, port, user="test", catalog="lake", schema=lake.namespace)) as opened:
        yield opened


@pytest.fixture
def query(connection) -> Callable[[str], list[list]]:
    return lambda sql: connection.cursor().execute(sql).fetchall()


@pytest.fixture
def table(lake) -> Table:
    return lake.catalog.create_table(
        f"{lake.namespace}.trades", ROWS, properties={"seamark.watermark": '{"next": 7}'}
    )


def rows(symbol: str) -> pa.Table:
    count = len(PRICES)
    return pa.table([PRICES, [AT] * count, pa.array(range(count), pa.int32()), [symbol] * count], schema=ROWS)


def test_values_come_back_exact_to_the_last_digit_and_microsecond(table, query):
    table.append(rows("BTCUSDT"))
    expected = [[price, AT, shard, "BTCUSDT"] for shard, price in enumerate(PRICES)]
    assert query("SELECT * FROM trades ORDER BY shard") == expected
    assert query("SELECT sum(price) FROM trades") == [[sum(PRICES)]]
    [[literal]] = query(f"SELECT shard FROM trades WHERE price = DECIMAL '{PRICES[3]}'")
    assert literal == 3, "a decimal literal of all 28 digits must find its row"


def test_pinned_snapshot_shows_its_rows_and_none_of_a_later_commit(table, query):
    table.append(rows("first"))
    pinned = table.current_snapshot().snapshot_id
    table.append(rows("second"))
    of_pin = f"SELECT DISTINCT symbol FROM trades FOR VERSION AS OF {pinned}"
    assert query(of_pin) == [["first"]]
    assert query("SELECT DISTINCT symbol FROM trades ORDER BY 1") == [["first"], ["second"]]


def test_optimize_replaces_files_and_keeps_rows_and_properties(table, query):
    for symbol in ("a", "b", "c"):
        table.append(rows(symbol))
    before = query("SELECT * FROM trades ORDER BY symbol, shard")
    query("ALTER TABLE trades EXECUTE optimize")
    maintained = table.catalog.load_table(table.name())
    assert len(list(maintained.scan().plan_files())) == 1
    assert maintained.current_snapshot().summary.operation.value == "replace"
    assert maintained.properties == table.properties
    assert query("SELECT * FROM trades ORDER BY symbol, shard") == before


def test_orphans_younger_than_three_days_cannot_be_asked_away(table, query):
    table.append(rows("a"))
    with pytest.raises(TrinoUserError, match=r"minimum retention.*3\.00d"):
        query("ALTER TABLE trades EXECUTE remove_orphan_files(retention_threshold => '1h')")


def test_cancelled_query_ends_on_the_server_too(trino, connection, query, wait_until):
    cursor = connection.cursor()

    def run() -> None:
        with suppress(TrinoUserError):  # "Query was canceled", unless its cancel was seen first
            cursor.execute(f"SELECT count(*) FROM {TRILLIONS_OF_ROWS}")

    def state() -> list[list]:
        return query(
            f"SELECT state, error_code FROM system.runtime.queries WHERE query_id = '{cursor.query_id}'"
        )

    running = threading.Thread(target=run)
    running.start()
    wait_until(lambda: cursor.query_id is not None and state() == [["RUNNING", None]], "the query runs")
    cursor.cancel()
    wait_until(lambda: state() == [["FAILED", "USER_CANCELED"]], "the server has given it up")
    running.join(timeout=60)
    assert not running.is_alive()


def test_query_that_wants_too_much_memory_is_refused_and_the_server_lives_on(trino, query):
    process = trino.process.pid
    with pytest.raises(TrinoQueryError, match="exceeded per-node memory limit"):
        query(f"SELECT cardinality(array_agg(n0 * n1)) FROM {TRILLIONS_OF_ROWS}")
    assert query("SELECT 1") == [[1]]
    assert trino.process.pid == process


def test_listens_on_loopback_alone(trino):
    listening = [
        held.laddr.ip
        for held in psutil.Process(trino.process.pid).net_connections("tcp")
        if held.status == psutil.CONN_LISTEN
    ]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_keeps_no_secret_in_its_folder(trino, catalog_server):
    secret = catalog_server.properties()["s3.secret-access-key"].encode()
    own = [file for file in trino.directory.rglob("*") if file.is_file() and not file.is_symlink()]
    assert trino.directory / "trino.log" in own
    assert [file for file in own if secret in file.read_bytes()] == []


def test_killed_server_is_found_again_where_it_was(trino, query):
    before = trino.address
    trino.kill()
    trino.start()
    assert trino.address == before
    assert query("SELECT 1") == [[1]]
