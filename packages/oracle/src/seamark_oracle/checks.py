"""The checks of one table: every question is SQL whose answer must be empty."""

from collections.abc import Iterator, Sequence

import duckdb

from seamark_oracle.columns import Inserter, create
from seamark_oracle.contract import FEEDS, RECORDS, Field, Type
from seamark_oracle.evidence import PinnedTable
from seamark_oracle.expectation import KEY, POSITION, Fate, PartitionBounds
from seamark_oracle.registry import COUNTERS, Registry
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
    Field(name, Type.LONG) for name in ("stream_id", "kafka_partition", "start", "proven_from", "next")
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
    registry: Registry,
    bounds: Sequence[PartitionBounds],
    file_faults: Sequence[str],
) -> tuple[TableFigures, list[Check]]:
    """Compares `expected_<table>` with `lake_<table>` and with the claims of the registry."""
    _write_bounds(database, table, bounds)
    deletes = pinned.delete_files
    checks = [
        Check(table, "no delete files", deletes, (f"{deletes} delete files",) if deletes else ()),
        Check(table, "files are as their manifest says", len(file_faults), tuple(file_faults[:_SHOWN])),
        _accounts(table, registry, bounds),
        _absent(table, bounds),
        *_presence(database, table),
        _checkpoints(database, table, registry, bounds),
        *_values(database, table),
        *_ids(database, table),
        _sorted(database, table),
    ]
    return _figures(database, table, checks, bounds), checks


def _write_bounds(database: duckdb.DuckDBPyConnection, table: str, bounds: Sequence[PartitionBounds]) -> None:
    create(database, f"bounds_{table}", _BOUNDS)
    with Inserter(database, f"bounds_{table}", _BOUNDS) as rows:
        for each in bounds:
            rows.add((each.stream_id, each.partition, each.start, each.proven_from, each.next))


def _accounts(table: str, registry: Registry, bounds: Sequence[PartitionBounds]) -> Check:
    wrong = []
    for each in bounds:
        claim = registry.checkpoints.get((each.stream_id, each.partition))
        where = f"stream {each.stream_id}, partition {each.partition}"
        if claim is None:
            wrong.append(f"{where} has no checkpoint")
        elif claim.next - each.start != (total := sum(claim.counters.values())):
            wrong.append(f"{where}: next - start is {claim.next - each.start}, the counters' sum {total}")
    known = {(each.stream_id, each.partition) for each in bounds}
    wrong += [
        f"checkpoint of {where}, which is in no stream" for where in registry.checkpoints.keys() - known
    ]
    return Check(table, "next - start is the sum of the counters", len(wrong), tuple(wrong[:_SHOWN]))


def _absent(table: str, bounds: Sequence[PartitionBounds]) -> Check:
    wrong = [
        f"stream {each.stream_id}, partition {each.partition}: {each.records_absent} offsets below {each.next}"
        for each in bounds
        if each.records_absent
    ]
    return Check(
        table,
        "every offset below the checkpoint is in the log",
        sum(abs(b.records_absent) for b in bounds),
        tuple(wrong),
    )


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
    # Rows above the checkpoint are the check before; rows below proven_from cannot be judged.
    yield offending(
        database,
        table,
        "no row that must not be",
        f"SELECT {_AT}, coalesce(fate, 'not in the log') AS record FROM {lake} "
        f"JOIN {bounds} USING (stream_id, kafka_partition) LEFT JOIN {expected} USING ({_AT}) "
        f"WHERE kafka_offset >= proven_from AND kafka_offset < next AND fate IS DISTINCT FROM '{Fate.ROW.value}'",
    )
    yield offending(
        database,
        table,
        "nothing is decided at or behind an unknown schema",
        f"SELECT {_AT} FROM {expected} WHERE fate = '{Fate.STUCK.value}'",
    )


def _checkpoints(
    database: duckdb.DuckDBPyConnection,
    table: str,
    registry: Registry,
    bounds: Sequence[PartitionBounds],
) -> Check:
    counted: dict[tuple[int, int], dict[str, int]] = {}
    for stream, partition, fate, count in database.execute(
        f"SELECT stream_id, kafka_partition, fate, count(*) FROM expected_{table} GROUP BY ALL"
    ).fetchall():
        counted.setdefault((stream, partition), {})[fate] = count
    wrong = []
    for each in bounds:
        where = (each.stream_id, each.partition)
        claim = registry.checkpoints.get(where)
        if claim is None or each.proven_from > each.start:
            continue  # no checkpoint: said above; log gone: nothing to count
        fates = counted.get(where, {})
        excluded = sum(len(gap) for gap in registry.excluded.get(where, ()))
        own = {
            "written": fates.get(Fate.ROW.value, 0),
            "duplicate": fates.get(Fate.DUPLICATE.value, 0),
            "dlq": fates.get(Fate.REFUSED.value, 0),
            "shed and lost": excluded,
        }
        claimed = {name: claim.counters[name] for name in COUNTERS[:3]}
        claimed["shed and lost"] = claim.counters["shed"] + claim.counters["lost"]
        wrong += [
            f"stream {each.stream_id}, partition {each.partition}: {name} is {claimed[name]}, counted {own[name]}"
            for name in own
            if claimed[name] != own[name]
        ]
        if claim.append_us != each.append_us:
            wrong.append(
                f"stream {each.stream_id}, partition {each.partition}: kafka_timestamp_us is "
                f"{claim.append_us}, the log says {each.append_us}"
            )
    return Check(table, "the checkpoint equals the oracle's own", len(wrong), tuple(wrong[:_SHOWN]))


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


def _figures(
    database: duckdb.DuckDBPyConnection,
    table: str,
    checks: Sequence[Check],
    bounds: Sequence[PartitionBounds],
) -> TableFigures:
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
        unproven=sum(each.proven_from - each.start for each in bounds),
        missing=by_name["no row is missing"],
        doubled=by_name["no offset is there twice"],
        wrong=sum(check.offending for check in checks if check.name in _WRONG_ROWS),
        decimals=equal,
    )
