"""Both sides in one DuckDB file: what the log demands, and what the snapshot holds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from seamark_oracle.columns import DECIMAL_SQL, create, lake_expression
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type
from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import PinnedTable
from seamark_oracle.expectation import FATE, KEY, POSITION, Accepted, Past

_FETCHED_ROWS = 10_000
_MEMORY = "512MB"


def open_database(directory: Path) -> duckdb.DuckDBPyConnection:
    """An empty database in `directory`; what does not fit in memory goes there."""
    database = duckdb.connect(str(directory / "oracle.duckdb"))
    database.execute(f"SET memory_limit = '{_MEMORY}'")
    database.execute("SET preserve_insertion_order = false")
    return database


def expected_fields(table: str) -> tuple[Field, ...]:
    """Columns of the DuckDB table `expected_<table>`."""
    return (*POSITION, FATE, *RECORDS[table])


def load_lake(
    database: duckdb.DuckDBPyConnection, table: str, pinned: PinnedTable, directory: Path
) -> list[str]:
    """Fills `lake_<table>` from the snapshot's files, one at a time.

    Columns: those of a row, and `file` and `file_row`, where the row stood. Returns what is
    wrong with the files themselves. Raises OracleError where DuckDB cannot read one.
    """
    row = (*POSITION, *RECORDS[table])
    create(database, f"lake_{table}", (*row, Field("file", Type.LONG), Field("file_row", Type.LONG)))
    decimals = [field.name for field in row if field.type is Type.DECIMAL]
    wrong = []
    for number, file in enumerate(pinned.files):
        copy = directory / "file.parquet"
        path = file.fetch(copy)
        try:
            source = f"read_parquet('{_quoted(path)}', file_row_number = true)"
            types = {name: kind for name, kind, *_ in database.execute(f"DESCRIBE FROM {source}").fetchall()}
            off = {name: types.get(name) for name in decimals if types.get(name) != DECIMAL_SQL}
            if off:  # reading it anyway would round
                wrong.append(f"file {number} of {len(pinned.files)} has {off}, must be {DECIMAL_SQL}")
                continue
            inserted = database.execute(
                f"INSERT INTO lake_{table} SELECT {', '.join(map(lake_expression, row))}, "
                f"{number}, file_row_number FROM {source}"
            ).fetchall()
        except duckdb.Error as error:
            raise OracleError(f"DuckDB cannot read file {number} of {table}: {error}") from error
        finally:
            copy.unlink(missing_ok=True)
        rows = int(inserted[0][0])
        if rows != file.record_count:
            wrong.append(f"file {number} has {rows} rows, its manifest says {file.record_count}")
    return wrong


def history_of(database: duckdb.DuckDBPyConnection, table: str) -> Callable[[int, int, int], Past]:
    """A `past` for `derive`: the lake's own rows, where the log has nothing left to compare with."""

    def past(stream_id: int, partition: int, below_offset: int) -> Past:
        rows = (
            f"FROM lake_{table} WHERE stream_id = {stream_id} AND kafka_partition = {partition} "
            f"AND kafka_offset < {below_offset}"
        )
        greatest = database.execute(f"SELECT coalesce(max(kafka_timestamp), 0) {rows}").fetchall()[0][0]
        return Past(int(greatest), _accepted(database.cursor(), rows) if table in FEEDS else ())

    return past


def _accepted(cursor: duckdb.DuckDBPyConnection, rows: str) -> Iterator[Accepted]:
    cursor.execute(
        f'SELECT {", ".join(KEY)}, source_sequence, "timestamp", id_epoch {rows} ORDER BY kafka_offset'
    )
    while batch := cursor.fetchmany(_FETCHED_ROWS):
        for *key, number, time_us, epoch in batch:
            yield Accepted(tuple(key), number, time_us, epoch)


def create_expected(database: duckdb.DuckDBPyConnection, table: str) -> None:
    """The empty DuckDB table `expected_<table>`."""
    create(database, f"expected_{table}", expected_fields(table))


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
