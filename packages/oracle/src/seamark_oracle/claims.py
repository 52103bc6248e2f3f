"""The checks of what a table claims in its properties: checkpoints, counters, excluded ranges."""

from collections import Counter
from collections.abc import Mapping, Sequence

import duckdb

from seamark_oracle.evidence import PinnedTable
from seamark_oracle.expectation import Derived, Fate
from seamark_oracle.extents import Survey
from seamark_oracle.registry import Partition, Registry, read_summary
from seamark_oracle.verdict import Check

_SHOWN = 5


def check_claims(
    database: duckdb.DuckDBPyConnection,
    table: str,
    pinned: PinnedTable,
    registry: Registry,
    survey: Survey,
    derived: Sequence[Derived],
) -> list[Check]:
    """Holds the claims against each other and against what was derived. `check_table` comes before."""
    return [
        _accounts(table, registry, survey),
        _own(database, table, registry, derived),
        _absent(table, derived),
        _left_out(table, survey),
        _summary(table, pinned, registry),
    ]


def _check(table: str, name: str, wrong: Sequence[str]) -> Check:
    return Check(table, name, len(wrong), tuple(wrong[:_SHOWN]))


def _named(where: Partition) -> str:
    return f"stream {where[0]}, partition {where[1]}"


def _accounts(table: str, registry: Registry, survey: Survey) -> Check:
    wrong = []
    for each in survey.extents:
        claim = registry.checkpoints.get(each.where)
        if claim is None:
            wrong.append(f"{_named(each.where)} has no checkpoint")
        elif claim.next - each.start != (total := sum(claim.counters.values())):
            wrong.append(
                f"{_named(each.where)}: next - start is {claim.next - each.start}, the counters' sum {total}"
            )
    known = {each.where for each in survey.extents}
    wrong += [
        f"checkpoint of {_named(where)}, which is in no stream"
        for where in registry.checkpoints.keys() - known
    ]
    return _check(table, "next - start is the sum of the counters", wrong)


def _own(
    database: duckdb.DuckDBPyConnection, table: str, registry: Registry, derived: Sequence[Derived]
) -> Check:
    """Of offsets that the log no longer has, the rows and the excluded ranges can still be counted."""
    fates, unproven = _fates(database, table), _unproven_rows(database, table)
    wrong = []
    for each in derived:
        extent = each.extent
        claim = registry.checkpoints.get(extent.where)
        if claim is None:
            continue  # said above
        own = fates.get(extent.where, Counter())
        kept = registry.not_excluded(extent.where, range(extent.start, extent.next))
        exact = {
            "written": (claim.counters["written"], own[Fate.ROW.value] + unproven.get(extent.where, 0)),
            "shed and lost": (
                claim.counters["shed"] + claim.counters["lost"],
                extent.next - extent.start - sum(map(len, kept)),
            ),
        }
        at_least = {
            "duplicate": (claim.counters["duplicate"], own[Fate.DUPLICATE.value]),
            "dlq": (claim.counters["dlq"], own[Fate.REFUSED.value]),
            "kafka_timestamp_us": (claim.append_us, each.append_us),
        }
        for name, (claimed, counted) in (exact | at_least).items():
            open_ended = name in at_least and extent.unproven
            if claimed < counted if open_ended else claimed != counted:
                wrong.append(
                    f"{_named(extent.where)}: {name} is {claimed}, must be {'at least ' * bool(open_ended)}{counted}"
                )
    return _check(table, "the checkpoint equals the oracle's own", wrong)


def _fates(database: duckdb.DuckDBPyConnection, table: str) -> Mapping[Partition, Counter[str]]:
    counted: dict[Partition, Counter[str]] = {}
    for stream_id, partition, fate, count in database.execute(
        f"SELECT stream_id, kafka_partition, fate, count(*) FROM expected_{table} GROUP BY ALL"
    ).fetchall():
        counted.setdefault((stream_id, partition), Counter())[fate] = count
    return counted


def _unproven_rows(database: duckdb.DuckDBPyConnection, table: str) -> Mapping[Partition, int]:
    """How many rows are taken as they are."""
    counts = database.execute(
        f"SELECT stream_id, kafka_partition, count(*) FROM lake_{table} JOIN bounds_{table} "
        f"USING (stream_id, kafka_partition) WHERE kafka_offset >= start AND kafka_offset < next "
        f"AND (kafka_offset < proven_from OR kafka_offset >= proven_to) GROUP BY ALL"
    ).fetchall()
    return {(stream_id, partition): count for stream_id, partition, count in counts}


def _absent(table: str, derived: Sequence[Derived]) -> Check:
    wrong = [
        f"{_named(each.extent.where)}: {each.records_absent} offsets below {each.extent.next}"
        for each in derived
        if each.records_absent
    ]
    return Check(
        table,
        "every offset below the checkpoint is in the log",
        sum(abs(each.records_absent) for each in derived),
        tuple(wrong[:_SHOWN]),
    )


def _left_out(table: str, survey: Survey) -> Check:
    wrong = [
        f"{_named(where)}: [{offsets.start}, {offsets.stop}) is neither taken in nor excluded"
        for where, offsets in survey.left_out
    ]
    return Check(
        table,
        "no offset of the log is left out",
        sum(offsets.stop - offsets.start for _, offsets in survey.left_out),
        tuple(wrong[:_SHOWN]),
    )


def _summary(table: str, pinned: PinnedTable, registry: Registry) -> Check:
    """Readers take H and what is excluded from the snapshot's summary."""
    name = "the snapshot's summary says the same"
    if pinned.summary is None:
        return _check(table, name, ["no summary of a writer stands behind the snapshot"])
    there, revision = read_summary(pinned.summary)
    wrong = [
        f"{_named(where)}: property {registry.checkpoints.get(where)}, summary {there.checkpoints.get(where)}"
        for where in sorted(there.checkpoints.keys() | registry.checkpoints.keys())
        if there.checkpoints.get(where) != registry.checkpoints.get(where)
    ]
    if there.excluded != registry.excluded:
        wrong.append(f"excluded: properties {registry.excluded}, summary {there.excluded}")
    if str(revision) != (own := pinned.properties.get("seamark.revision", "0")):
        wrong.append(f"revision: property {own}, summary {revision}")
    return _check(table, name, wrong)
