"""What the oracle says: figures, checks with evidence, and the proof as text."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One property that must hold."""

    subject: str
    """The table, or `venue`."""
    name: str
    offending: int
    """How many rows, records or files break it; 0: it holds."""
    evidence: tuple[str, ...] = ()
    """The first few of them."""

    @property
    def passed(self) -> bool:
        return self.offending == 0


@dataclass(frozen=True, slots=True)
class TableFigures:
    """Counts of one table. Offsets below the checkpoint, unless said otherwise."""

    table: str
    in_kafka: int
    """Records in the log, at and above the checkpoint included."""
    in_iceberg: int
    """Rows of the current snapshot."""
    duplicates: int
    refused: int
    excluded: int
    waiting: int
    """Records at or above the checkpoint."""
    unproven: int
    """Offsets of `Verdict.unproven`."""
    missing: int
    doubled: int
    wrong: int
    """Rows that must not be there, or differ from their record."""
    decimals: int
    """Prices and quantities compared as values and found equal."""


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """Counts of what the venue sent."""

    connections: int
    connections_uncertain: int
    """Not closed by the venue with a handshake: their last frames may not have arrived."""
    trade_frames: int
    trades: int
    """Distinct trades that must have arrived."""
    trades_uncertain: int
    """Distinct trades sent on uncertain connections only."""
    trades_in_kafka: int
    trades_in_iceberg: int
    quote_frames: int
    quotes: int
    quotes_in_kafka: int
    quotes_in_iceberg: int
    malformed: int
    """Distinct malformed frames that must have arrived."""
    malformed_kept: int
    """Of those: in the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """Counts of the answers about one table that were judged."""

    table: str
    answers: int
    rows: int
    exact: int
    """Of the answers: those that said they were."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """Offsets [first, next) below a checkpoint whose records cannot be had any more."""

    table: str
    stream_id: int
    partition: int
    first: int
    next: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole judgement."""

    tables: tuple[TableFigures, ...]
    journal: JournalFigures | None
    """None where no journal was given: the judgement then begins at Kafka."""
    checks: tuple[Check, ...]
    unproven: tuple[Unproven, ...] = ()
    """Each range that the judgement does not cover: its rows are taken as they are."""

    answers: tuple[AnswerFigures, ...] = ()
    """Of tables that were asked about while the services ran."""

    @property
    def exact(self) -> bool:
        """Whether nothing is off in what could be judged; `unproven` is what could not."""
        return all(check.passed for check in self.checks)

    def figures(self, table: str) -> TableFigures:
        """Raises KeyError for a table that was not judged."""
        for figures in self.tables:
            if figures.table == table:
                return figures
        raise KeyError(table)

    def to_text(self) -> str:
        """The proof for people: figures by table, then the venue's side, then what is off."""
        lines = ["PROOF, derived again from the raw log by code that shares nothing with the services", ""]
        lines += _grid(self.tables)
        lines += [
            "",
            *(
                _venue(self.journal)
                if self.journal
                else ["no journal of the venue: the proof covers Kafka to Iceberg"]
            ),
        ]
        lines += [
            f"answers about {given.table} while it ran: {given.answers:,} with {given.rows:,} rows, "
            f"{given.exact:,} of them said to be exact"
            for given in self.answers
        ]
        lines.append("")
        for check in self.checks:
            if not check.passed:
                lines.append(f"OFF  {check.subject}: {check.name}: {check.offending:,}")
                lines += [f"       {item}" for item in check.evidence]
        lines += [
            f"UNPROVEN  {each.table}: stream {each.stream_id}, partition {each.partition}, "
            f"[{each.first}, {each.next}): {each.reason}"
            for each in self.unproven
        ]
        good = sum(check.passed for check in self.checks)
        lines.append(f"{good} of {len(self.checks)} checks hold")
        unproven = sum(each.next - each.first for each in self.unproven)
        lines.append("EXACT: yes" if self.exact else "EXACT: NO")
        if self.exact and unproven:
            lines.append(
                f"  but for {unproven:,} offsets whose records the log no longer has: their rows are taken as they are"
            )
        return "\n".join(lines)


_ROWS = (
    ("records in Kafka", "in_kafka"),
    ("rows in Iceberg", "in_iceberg"),
    ("duplicates dropped", "duplicates"),
    ("refused", "refused"),
    ("excluded", "excluded"),
    ("waiting above the checkpoint", "waiting"),
    ("unproven, log gone", "unproven"),
    ("missing", "missing"),
    ("doubled", "doubled"),
    ("wrong", "wrong"),
    ("decimals equal", "decimals"),
)
assert {name for _, name in _ROWS} == {field.name for field in fields(TableFigures)} - {"table"}


def _grid(tables: Sequence[TableFigures]) -> list[str]:
    width = 16
    lines = [f"{'':30}" + "".join(f"{figures.table:>{width}}" for figures in tables)]
    for title, name in _ROWS:
        numbers: list[Any] = [getattr(figures, name) for figures in tables]
        lines.append(f"{title:30}" + "".join(f"{number:>{width},}" for number in numbers))
    return lines


def _venue(journal: JournalFigures) -> list[str]:
    return [
        f"{'venue':30}{'trades':>16}{'quotes':>16}",
        f"{'frames sent':30}{journal.trade_frames:>16,}{journal.quote_frames:>16,}",
        f"{'sent and surely received':30}{journal.trades:>16,}{journal.quotes:>16,}",
        f"{'  of these in Kafka':30}{journal.trades_in_kafka:>16,}{journal.quotes_in_kafka:>16,}",
        f"{'  of these in Iceberg':30}{journal.trades_in_iceberg:>16,}{journal.quotes_in_iceberg:>16,}",
        f"malformed frames: {journal.malformed:,} sent, {journal.malformed_kept:,} kept as dead letters",
        f"connections: {journal.connections:,}, of these not closed cleanly: {journal.connections_uncertain:,} "
        f"({journal.trades_uncertain:,} trades sent on those alone may be missing)",
    ]
