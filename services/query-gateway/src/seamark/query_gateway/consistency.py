"""From how fresh or old an answer is to be, to how much of the log is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from seamark.query_gateway.cursor import Cursor, TableCursor
from seamark.query_gateway.errors import Gone, Invalid
from seamark.query_gateway.question import (
    AsKnownAt,
    AtCursor,
    AtSnapshot,
    Consistency,
    Latest,
    MaxStaleness,
    MinOffsets,
)
from seamark.query_gateway.want import Want

KNOWN_AFTER_US = 5_000_000
"""What was appended until T is settled so long after T: brokers' clocks differ, and idle partitions have no mark."""


def want_of(
    consistency: Consistency, table: str, decode: Callable[[str], Cursor], question: str, now_us: int
) -> Want:
    """`question`: hash that a cursor must carry.

    Raises:
        Invalid: a time too near, a cursor of another question or table.
    """
    match consistency:
        case Latest(last_end):
            return Want(floor=last_end)
        case MinOffsets(offsets):
            return Want(floor=offsets, strict=True)
        case MaxStaleness(milliseconds):
            if milliseconds < 0:
                raise Invalid("max_staleness_ms", f"max_staleness_ms was {milliseconds}, must be 0 or more")
            return Want(max_staleness_ms=milliseconds)
        case AsKnownAt(instant_us):
            if not 0 <= instant_us <= now_us - KNOWN_AFTER_US:
                raise Invalid(
                    "as_known_at",
                    f"as_known_at was {instant_us}, must be 0 to {now_us - KNOWN_AFTER_US} (microseconds, 5 s ago)",
                )
            return Want(known_at_us=instant_us)
        case AtSnapshot(snapshot_id):
            return Want(snapshot_id=snapshot_id)
        case AtCursor(text):
            return want_of_cursor(decode(text), table, question)


@contextmanager
def gone_by_name(consistency: Consistency, page_cursor: str = "") -> Iterator[None]:
    """Rows that cannot be given any more are named by the parameter that asked for them; by none where the
    newest were asked for."""
    try:
        yield
    except Gone as error:
        error.field = "page_cursor" if page_cursor else _CHOOSE_ROWS.get(type(consistency), "")
        raise


_CHOOSE_ROWS: dict[type[Consistency], str] = {
    AtCursor: "at",
    AsKnownAt: "as_known_at",
    AtSnapshot: "snapshot",
}


def want_of_ledger(consistency: Consistency, table: str, decode: Callable[[str], Cursor]) -> Want | None:
    """How much of the ledger of gaps an answer means whose consistency is checked already; None: its cursor
    does not say. What is asked of the rows alone (offsets, an age, a snapshot) means the newest."""
    match consistency:
        case AtCursor(text):
            of_table = decode(text).tables.get(table)
            return None if of_table is None else _want_of_table(of_table)
        case AsKnownAt(instant_us):
            return Want(known_at_us=instant_us)
        case _:
            return Want()


def want_of_cursor(cursor: Cursor, table: str, question: str, field: str = "at") -> Want:
    """Raises Invalid: the cursor, which came in `field`, belongs to another question."""
    if cursor.question != question or table not in cursor.tables:
        raise Invalid(field, f"{field} was of another question, must be one that this question gave")
    return _want_of_table(cursor.tables[table])


def _want_of_table(of_table: TableCursor) -> Want:
    return Want(
        end=of_table.end, revision=of_table.revision, known_at_us=of_table.known_at_us, ended=of_table.ended
    )
