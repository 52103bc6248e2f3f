"""The whole judgement: read both sides, compare, say what was found."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from seamark_oracle.answers import judge_answers
from seamark_oracle.checks import check_table, figures_of
from seamark_oracle.claims import check_claims
from seamark_oracle.columns import Inserter
from seamark_oracle.contract import RECORDS
from seamark_oracle.errors import OracleError
from seamark_oracle.evidence import Lake, Log
from seamark_oracle.expectation import derive
from seamark_oracle.extents import Extent, survey
from seamark_oracle.iceberg import IcebergLake
from seamark_oracle.journal import load_journals
from seamark_oracle.kafka import KafkaLog
from seamark_oracle.registry import read_registry
from seamark_oracle.store import create_expected, expected_fields, history_of, load_lake, open_database
from seamark_oracle.venue import check_venue
from seamark_oracle.verdict import AnswerFigures, Check, TableFigures, Unproven, Verdict


def judge(
    kafka_bootstrap: str,
    catalog_properties: Mapping[str, str],
    namespace: str,
    journals: Sequence[Path] = (),
    tables: Sequence[str] | None = None,
    answers: Path | None = None,
) -> Verdict:
    """Judges the current snapshots of `tables` (default: all four) against the raw log.

    With `journals`, all that the venue wrote while it fed this log, also the log and the
    lake against what was sent; `tables` must then hold trades and quotes. With `answers`, a
    folder as `judge_answers` describes it, also what was answered while the services ran: of
    records that no checkpoint covers yet nothing can be said, so stop them first. It disturbs
    nothing and may run beside the services: what lies above a checkpoint is then waiting.

    Raises OracleError when an engine does not answer or the evidence cannot be read.
    """
    lake = IcebergLake(catalog_properties, namespace)
    with KafkaLog(kafka_bootstrap) as log:
        return judge_evidence(log, lake, journals, tables, answers)


def judge_evidence(
    log: Log,
    lake: Lake,
    journals: Sequence[Path] = (),
    tables: Sequence[str] | None = None,
    answers: Path | None = None,
) -> Verdict:
    """As `judge`, over any evidence."""
    names = tuple(RECORDS) if tables is None else tuple(dict.fromkeys(tables))
    if not names:
        raise OracleError(f"tables were none, must be of {', '.join(RECORDS)}")
    if unknown := set(names) - set(RECORDS):
        raise OracleError(f"tables were {sorted(unknown)}, must be of {', '.join(RECORDS)}")
    if journals and not {"trades", "quotes"} <= set(names):
        raise OracleError(f"tables were {names}, must hold trades and quotes where journals are given")
    with (
        tempfile.TemporaryDirectory(prefix="seamark-oracle-") as folder,
        open_database(Path(folder)) as database,
    ):
        figures: list[TableFigures] = []
        checks: list[Check] = []
        unproven: list[Unproven] = []
        extents: dict[str, Sequence[Extent]] = {}
        for table in names:
            # The lake first: a log read after it holds at least what the snapshot was made of.
            pinned = lake.pin(table)
            if pinned is None:
                raise OracleError(f"table {table} is not in the catalog")
            registry = read_registry(pinned.properties)
            if not registry.streams:
                raise OracleError(f"table {table} has no stream: nothing was ever adopted for it")
            faults = load_lake(database, table, pinned, Path(folder))
            ground = survey(log, registry)
            extents[table] = ground.extents
            create_expected(database, table)
            with Inserter(database, f"expected_{table}", expected_fields(table)) as expected:
                derived = derive(table, log, registry, ground.extents, history_of(database, table), expected)
            made = check_table(database, table, pinned, ground.extents, faults)
            made += check_claims(database, table, pinned, registry, ground, derived)
            figures.append(figures_of(database, table, made, ground.extents))
            checks += made
            unproven += [
                Unproven(table, *extent.where, gone.offsets.start, gone.offsets.stop, gone.reason)
                for extent in ground.extents
                for gone in extent.unproven
            ]
        given: list[AnswerFigures] = []
        for table in names if answers is not None else ():
            assert answers is not None
            answered, made = judge_answers(database, table, answers, extents[table])
            if answered.answers:
                given.append(answered)
                checks += made
        venue = None
        if journals:
            load_journals(database, journals)
            venue, made = check_venue(database, log)
            checks += made
    return Verdict(tuple(figures), venue, tuple(checks), tuple(unproven), tuple(given))
