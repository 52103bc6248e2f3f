"""Both sides in one DuckDB file: what the log demands, and what the snapshot holds."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb

from seamark_oracle.columns import PARQUET_TYPES, create, lake_expression
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type
from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import PinnedTable
from seamark_oracle.expectation import FATE, KEY, POSITION, Accepted, Past
from seamark_oracle.registry import Partition

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
    wrong = []
    for number, file in enumerate(pinned.files):
        copy = directory / "file.parquet"
        path = file.fetch(copy)
        try:
            if faults := list(_column_faults(database, row, pinned, path)):
                wrong += [f"file {number} of {len(pinned.files)}: {fault}" for fault in faults]
                continue  # reading it anyway would round, or take one column for another
            inserted = database.execute(
                f"INSERT INTO lake_{table} SELECT {', '.join(map(lake_expression, row))}, "
                f"{number}, file_row_number FROM read_parquet('{_quoted(path)}', file_row_number = true)"
            ).fetchall()
        except duckdb.Error as error:
            raise OracleError(f"DuckDB cannot read file {number} of {table}: {error}") from error
        finally:
            copy.unlink(missing_ok=True)
        rows = int(inserted[0][0])
        if rows != file.record_count:
            wrong.append(f"file {number} has {rows} rows, its manifest says {file.record_count}")
    return wrong + list(_bound_faults(database, table, pinned))


def _column_faults(
    database: duckdb.DuckDBPyConnection, row: Sequence[Field], pinned: PinnedTable, path: Path
) -> Iterator[str]:
    described = database.execute(f"DESCRIBE FROM read_parquet('{_quoted(path)}')").fetchall()
    types = {name: kind for name, kind, *_ in described}
    ids = dict(database.execute(f"SELECT name, field_id FROM parquet_schema('{_quoted(path)}')").fetchall())
    for field in row:
        allowed = PARQUET_TYPES.get(field.type)
        if allowed and (kind := types.get(field.name)) not in allowed:
            yield f"{field.name} is {kind}, must be {' or '.join(allowed)}"
        if ids.get(field.name) != (wanted := pinned.field_ids.get(field.name)):
            yield f"field id of {field.name} is {ids.get(field.name)}, must be {wanted}"


def _bound_faults(database: duckdb.DuckDBPyConnection, table: str, pinned: PinnedTable) -> Iterator[str]:
    """Values that their file's manifest says are not there: readers that ask for them skip the file."""
    columns = sorted({bound.column for file in pinned.files for bound in file.bounds})
    if not columns:
        return
    extremes = ", ".join(f'min("{column}"), max("{column}")' for column in columns)
    for number, *values in database.execute(
        f"SELECT file, {extremes} FROM lake_{table} GROUP BY file"
    ).fetchall():
        found = {column: values[2 * at : 2 * at + 2] for at, column in enumerate(columns)}
        for column, least, greatest in pinned.files[number].bounds:
            low, high = found[column]
            if low is None:
                continue
            if (least is not None and low < least) or (greatest is not None and high > greatest):
                yield (
                    f"file {number} has {column} from {low} to {high}, its manifest says {least} to {greatest}"
                )


def history_of(database: duckdb.DuckDBPyConnection, table: str) -> Callable[[Partition, range], Past]:
    """A `past` for `derive`: the lake's own rows, where the log has nothing left to compare with."""

    def past(where: Partition, offsets: range) -> Past:
        rows = (
            f"FROM lake_{table} WHERE stream_id = {where[0]} AND kafka_partition = {where[1]} "
            f"AND kafka_offset >= {offsets.start} AND kafka_offset < {offsets.stop}"
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
