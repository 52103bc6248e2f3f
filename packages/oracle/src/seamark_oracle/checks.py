"""The checks of one table's rows: every question is SQL whose answer must be empty."""

from collections.abc import Iterator, Sequence

import duckdb

from seamark_oracle.columns import Inserter, create
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type
from seamark_oracle.evidence import PinnedTable
from seamark_oracle.expectation import KEY, POSITION, Fate
from seamark_oracle.extents import Extent
from seamark_oracle.verdict import Check, TableFigures

_SHOWN = 5
_AT = "stream_id, kafka_partition, kafka_offset"
_WRONG_ROWS = frozenset(
    {
        "no row at or above the checkpoint",
        "no row that must not be",
        "decimals equal the log's",
        "id_epoch equals the oracle's own",
        "kafka_timestamp is the running maximum",
        "all other columns equal the log's",
    }
)
_BOUNDS = tuple(
    Field(name, Type.LONG)
    for name in ("stream_id", "kafka_partition", "start", "proven_from", "proven_to", "next")
)


def offending(database: duckdb.DuckDBPyConnection, subject: str, name: str, query: str) -> Check:
    """The check that `query` (a SELECT of columns fit to be shown) has no rows."""
    count = int(database.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0])
    evidence: list[str] = []
    if count:
        shown = database.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({query}) LIMIT {_SHOWN}")
        names = [column[0] for column in shown.description or ()]
        evidence = [
            ", ".join(f"{column} {value}" for column, value in zip(names, row, strict=True))
            for row in shown.fetchall()
        ]
    return Check(subject, name, count, tuple(evidence))


def check_table(
    database: duckdb.DuckDBPyConnection,
    table: str,
    pinned: PinnedTable,
    extents: Sequence[Extent],
    file_faults: Sequence[str],
) -> list[Check]:
    """Compares `expected_<table>` with `lake_<table>`."""
    _write_bounds(database, table, extents)
    deletes = pinned.delete_files
    return [
        Check(table, "no delete files", deletes, (f"{deletes} delete files",) if deletes else ()),
        Check(table, "files are as their manifest says", len(file_faults), tuple(file_faults[:_SHOWN])),
        *_presence(database, table),
        *_values(database, table),
        *_ids(database, table),
        _sorted(database, table),
    ]


def _write_bounds(database: duckdb.DuckDBPyConnection, table: str, extents: Sequence[Extent]) -> None:
    create(database, f"bounds_{table}", _BOUNDS)
    with Inserter(database, f"bounds_{table}", _BOUNDS) as rows:
        for each in extents:
            rows.add((*each.where, each.start, each.proven.start, each.proven.stop, each.next))


def _presence(database: duckdb.DuckDBPyConnection, table: str) -> Iterator[Check]:
    expected, lake, bounds = f"expected_{table}", f"lake_{table}", f"bounds_{table}"
    yield offending(
        database,
        table,
        "no row is missing",
        f"SELECT {_AT} FROM {expected} ANTI JOIN {lake} USING ({_AT}) WHERE fate = '{Fate.ROW.value}'",
    )
    yield offending(
        database,
        table,
        "no offset is there twice",
        f"SELECT {_AT}, count(*) AS times FROM {lake} GROUP BY ALL HAVING count(*) > 1",
    )
    yield offending(
        database,
        table,
        "no row at or above the checkpoint",
        f"SELECT {_AT}, next FROM {lake} LEFT JOIN {bounds} USING (stream_id, kafka_partition) "
        f"WHERE next IS NULL OR kafka_offset >= next OR kafka_offset < start",
    )
    # Rows above the checkpoint are the check before; those of the unproven part cannot be judged.
    yield offending(
        database,
        table,
        "no row that must not be",
        f"SELECT {_AT}, coalesce(fate, 'not in the log') AS record FROM {lake} "
        f"JOIN {bounds} USING (stream_id, kafka_partition) LEFT JOIN {expected} USING ({_AT}) "
        f"WHERE kafka_offset >= proven_from AND kafka_offset < proven_to AND fate IS DISTINCT FROM '{Fate.ROW.value}'",
    )
    yield offending(
        database,
        table,
        "nothing is decided at or behind an unknown schema",
        f"SELECT {_AT} FROM {expected} WHERE fate = '{Fate.STUCK.value}'",
    )


def _values(database: duckdb.DuckDBPyConnection, table: str) -> Iterator[Check]:
    fields = [f for f in (*POSITION, *RECORDS[table]) if f.name not in _AT.split(", ")]
    decimals = [f.name for f in fields if f.type is Type.DECIMAL]
    single = ["id_epoch", "kafka_timestamp"]
    others = [f.name for f in fields if f.name not in (*decimals, *single)]
    groups = [
        *([("decimals equal the log's", decimals)] if decimals else []),
        ("id_epoch equals the oracle's own", single[:1]),
        ("kafka_timestamp is the running maximum", single[1:]),
        ("all other columns equal the log's", others),
    ]
    for name, columns in groups:
        differs = {c: f'l."{c}" IS DISTINCT FROM e."{c}"' for c in columns}
        shown = " || ".join(
            f"CASE WHEN {test} THEN '{c} ' || coalesce(l.\"{c}\"::VARCHAR, 'null') || "
            f"' must be ' || coalesce(e.\"{c}\"::VARCHAR, 'null') || '; ' ELSE '' END"
            for c, test in differs.items()
        )
        yield offending(
            database,
            table,
            name,
            f"SELECT {_AT}, {shown} AS difference FROM lake_{table} l JOIN expected_{table} e USING ({_AT}) "
            f"WHERE fate = '{Fate.ROW.value}' AND ({' OR '.join(differs.values())})",
        )


def _ids(database: duckdb.DuckDBPyConnection, table: str) -> Iterator[Check]:
    if table in FEEDS:
        identity = f"{', '.join(KEY)}, id_epoch, source_sequence"
        yield offending(
            database,
            table,
            "every id is there once",
            f"SELECT {identity}, count(*) AS times FROM lake_{table} GROUP BY ALL HAVING count(*) > 1",
        )


def _sorted(database: duckdb.DuckDBPyConnection, table: str) -> Check:
    order = _AT
    if table in FEEDS:
        order = f'symbol, "timestamp", exchange, market, feed, id_epoch, source_sequence, {_AT}'
    return offending(
        database,
        table,
        "rows of a file are in the declared order",
        f"SELECT file, file_row FROM (SELECT file, file_row, ROW({order}) AS here, "
        f"lag(ROW({order})) OVER (PARTITION BY file ORDER BY file_row) AS before FROM lake_{table}) "
        f"WHERE before > here",
    )


def figures_of(
    database: duckdb.DuckDBPyConnection, table: str, checks: Sequence[Check], extents: Sequence[Extent]
) -> TableFigures:
    """The counts of one table whose checks were made."""
    fates = dict(database.execute(f"SELECT fate, count(*) FROM expected_{table} GROUP BY fate").fetchall())
    rows = int(database.execute(f"SELECT count(*) FROM lake_{table}").fetchall()[0][0])
    by_name = {check.name: check.offending for check in checks}
    decimals = [f'l."{f.name}" = e."{f.name}"' for f in RECORDS[table] if f.type is Type.DECIMAL]
    equal = 0
    if decimals:
        counts = " + ".join(f"count(*) FILTER ({test})" for test in decimals)
        equal = int(
            database.execute(
                f"SELECT {counts} FROM lake_{table} l JOIN expected_{table} e USING ({_AT}) "
                f"WHERE fate = '{Fate.ROW.value}'"
            ).fetchall()[0][0]
        )
    return TableFigures(
        table,
        in_kafka=sum(fates.values()),
        in_iceberg=rows,
        duplicates=fates.get(Fate.DUPLICATE.value, 0),
        refused=fates.get(Fate.REFUSED.value, 0),
        excluded=fates.get(Fate.EXCLUDED.value, 0),
        waiting=fates.get(Fate.WAITING.value, 0),
        unproven=sum(len(gone.offsets) for each in extents for gone in each.unproven),
        missing=by_name["no row is missing"],
        doubled=by_name["no offset is there twice"],
        wrong=sum(check.offending for check in checks if check.name in _WRONG_ROWS),
        decimals=equal,
    )
