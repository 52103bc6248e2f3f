"""Answers that were given while everything moved: each against the log below its own E."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from seamark_oracle.checks import offending
from seamark_oracle.columns import Inserter, create, lake_expression
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type
from seamark_oracle.errors import OracleError
from seamark_oracle.expectation import POSITION, Fate
from seamark_oracle.extents import Extent
from seamark_oracle.verdict import AnswerFigures, Check

_AT = "stream_id, kafka_partition, kafka_offset"
_ENDS = tuple(Field(name, Type.LONG) for name in ("answer", "stream_id", "kafka_partition", "first", "next"))
_ASKED = (Field("answer", Type.LONG), Field("symbol", Type.TEXT))
_RANGE = (Field("answer", Type.LONG), Field("from_us", Type.LONG, True), Field("to_us", Type.LONG, True))
_FILES_AT_ONCE = 200
SUBJECT = "answers"


@dataclass(frozen=True, slots=True)
class _Given:
    """A line of answers.jsonl: what was asked, and what the header said."""

    rows: Path
    symbols: Sequence[str]
    from_us: int | None
    to_us: int | None
    end: dict[str, int]
    missing: Sequence[dict[str, Any]]
    exact: bool


def judge_answers(
    database: duckdb.DuckDBPyConnection, table: str, folder: Path, extents: Sequence[Extent]
) -> tuple[AnswerFigures, list[Check]]:
    """Judges the answers about `table` in `folder` against `expected_<table>`, which must cover them.

    Of offsets that `extents` calls unproven nothing is asked: neither that rows are there nor that
    they are not.

    `folder` holds answers.jsonl, one answer a line: `table`, `rows` (a Parquet file with all columns
    of the table), `symbols` (none: all), `from_us` and `to_us` (of the venue's time, or null), `end`
    ({"stream.partition": offset}), `missing` ([{"partition", "from", "to"}]), `exact`.

    Raises OracleError where an answer cannot be read.
    """
    given = _read(table, folder)
    unproven = [(extent.where, gone.offsets) for extent in extents for gone in extent.unproven]
    if not given:
        return AnswerFigures(table, 0, 0, 0), []
    fields = (*POSITION, *RECORDS[table])
    rows = f"answered_{table}"
    create(database, rows, (Field("answer", Type.LONG), Field("place", Type.LONG), *fields))
    ends, asked, ranges = f"ends_{table}", f"asked_{table}", f"range_{table}"
    for name, columns in ((ends, _ENDS), (asked, _ASKED), (ranges, _RANGE)):
        create(database, name, columns)
    with (
        Inserter(database, ends, _ENDS) as of_ends,
        Inserter(database, asked, _ASKED) as of_symbols,
        Inserter(database, ranges, _RANGE) as of_times,
    ):
        for number, answer in enumerate(given):
            of_times.add((number, answer.from_us, answer.to_us))
            for symbol in answer.symbols or ("",):
                of_symbols.add((number, symbol))
            for where, end in answer.end.items():
                place = tuple(map(int, where.split(".")))
                out = [(gone["from"], gone["to"]) for gone in answer.missing if gone["partition"] == where]
                out += [(offsets.start, offsets.stop) for at, offsets in unproven if tuple(at) == place]
                for first, last in _covered(end, out):
                    of_ends.add((number, *place, first, last))
    for first in range(0, len(given), _FILES_AT_ONCE):
        _load(database, rows, fields, first, given[first : first + _FILES_AT_ONCE])
    for partition, offsets in unproven:
        database.execute(
            f"DELETE FROM {rows} WHERE stream_id = ? AND kafka_partition = ? AND kafka_offset >= ? AND kafka_offset < ?",
            [*partition, offsets.start, offsets.stop],
        )
    # Rows that each answer must have: of the log below its E, without what it names as missing.
    database.execute(
        f"CREATE VIEW due_{table} AS SELECT answer, expected.* FROM expected_{table} AS expected "
        f"JOIN {ends} USING (stream_id, kafka_partition) JOIN {ranges} USING (answer) "
        f"JOIN {asked} AS asked USING (answer) "
        f"WHERE kafka_offset >= first AND kafka_offset < next AND fate = '{Fate.ROW.value}' "
        f"AND (asked.symbol = '' OR asked.symbol = expected.symbol) "
        f'AND (from_us IS NULL OR expected."timestamp" >= from_us) '
        f'AND (to_us IS NULL OR expected."timestamp" < to_us)'
    )
    others = [field.name for field in fields if field.name not in _AT.split(", ")]
    order = (
        f'"timestamp", exchange, market, symbol, feed, id_epoch, source_sequence, {_AT}'
        if table in FEEDS
        else _AT
    )
    differs = " OR ".join(f'given."{name}" IS DISTINCT FROM due."{name}"' for name in others)
    checks = [
        offending(
            database,
            SUBJECT,
            f"no answer about {table} lacks a row",
            f"SELECT answer, {_AT} FROM due_{table} ANTI JOIN {rows} USING (answer, {_AT})",
        ),
        offending(
            database,
            SUBJECT,
            f"no answer about {table} has a row too many",
            f"SELECT answer, {_AT} FROM {rows} ANTI JOIN due_{table} USING (answer, {_AT})",
        ),
        offending(
            database,
            SUBJECT,
            f"no answer about {table} has a row twice",
            f"SELECT answer, {_AT}, count(*) AS times FROM {rows} GROUP BY ALL HAVING count(*) > 1",
        ),
        offending(
            database,
            SUBJECT,
            f"every value of answers about {table} equals the log's",
            f"SELECT answer, {_AT} FROM {rows} AS given JOIN due_{table} AS due USING (answer, {_AT}) WHERE {differs}",
        ),
        offending(
            database,
            SUBJECT,
            f"answers about {table} are in the total order",
            f"SELECT answer, place FROM {rows} QUALIFY row({order}) < lag(row({order})) "
            f"OVER (PARTITION BY answer ORDER BY place)",
        ),
        Check(
            SUBJECT,
            f"no answer about {table} is exact and lacks ranges",
            sum(answer.exact and bool(answer.missing) for answer in given),
        ),
    ]
    count = int(database.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
    return AnswerFigures(table, len(given), count, sum(answer.exact for answer in given)), checks


def _read(table: str, folder: Path) -> list[_Given]:
    file = folder / "answers.jsonl"
    if not file.exists():
        raise OracleError(f"answers were {folder}, must hold answers.jsonl")
    given = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            document = json.loads(line)
            if document["table"] != table:
                continue
            given.append(
                _Given(
                    folder / document["rows"],
                    document["symbols"],
                    document["from_us"],
                    document["to_us"],
                    document["end"],
                    document["missing"],
                    document["exact"],
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise OracleError(f"line {number} of {file} is no answer: {error!r}") from error
    return given


def _load(
    database: duckdb.DuckDBPyConnection,
    rows: str,
    fields: Sequence[Field],
    first: int,
    given: Sequence[_Given],
) -> None:
    """The rows of answers number `first` and on; their files are read as one, which takes a fraction of the time."""
    files = [str(answer.rows) for answer in given]
    try:
        database.execute(
            f"INSERT INTO {rows} SELECT {first - 1} + list_position(?, filename), file_row_number, "
            f"{', '.join(map(lake_expression, fields))} "
            "FROM read_parquet(?, filename = true, file_row_number = true)",
            [files, files],
        )
    except duckdb.Error as error:
        raise OracleError(
            f"DuckDB cannot read answers {first} to {first + len(given) - 1}: {error}"
        ) from error


def _covered(end: int, out: Sequence[tuple[int, int | str]]) -> list[tuple[int, int]]:
    """[0, end) without the ranges `out`, whose ends may be "unknown"."""
    pieces, at = [], 0
    for first, last in sorted((int(first), end if last == "unknown" else int(last)) for first, last in out):
        if first > at:
            pieces.append((at, min(first, end)))
        at = max(at, last)
    if at < end:
        pieces.append((at, end))
    return pieces
