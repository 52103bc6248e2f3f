"""How fresh or old an answer is to be comes to how much of the log is meant."""

from __future__ import annotations

import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.consistency import KNOWN_AFTER_US, gone_by_name, want_of
from seamark.query_gateway.cursor import Cursor, CursorCodec, TableCursor
from seamark.query_gateway.errors import Gone, Invalid
from seamark.query_gateway.question import (
    AsKnownAt,
    AtCursor,
    AtSnapshot,
    Latest,
    MaxStaleness,
    MinOffsets,
)
from seamark.query_gateway.want import Want

NOW_US = 10**15
VECTOR = {StreamPartition(1, 0): 7}
CODEC = CursorCodec(b"a secret of sixteen")


def want(consistency, table="trades", question="q"):
    return want_of(consistency, table, CODEC.decode, question, NOW_US)


def cursor(question="q", **more):
    return AtCursor(CODEC.encode(Cursor(question, {"trades": TableCursor(5, VECTOR, 3, **more)})))


@pytest.mark.parametrize(
    ("consistency", "expected"),
    [
        (Latest(), Want()),
        (Latest(VECTOR), Want(floor=VECTOR)),
        (MinOffsets(VECTOR), Want(floor=VECTOR, strict=True)),
        (MaxStaleness(0), Want(max_staleness_ms=0)),
        (AsKnownAt(NOW_US - KNOWN_AFTER_US), Want(known_at_us=NOW_US - KNOWN_AFTER_US)),
        (AsKnownAt(0), Want(known_at_us=0)),
        (AtSnapshot(9), Want(snapshot_id=9)),
        (cursor(), Want(end=VECTOR, revision=3)),
        (cursor(known_at_us=11), Want(end=VECTOR, revision=3, known_at_us=11)),
    ],
)
def test_each_mode_has_its_want(consistency, expected):
    assert want(consistency) == expected


@pytest.mark.parametrize(
    ("consistency", "field"),
    [
        (MaxStaleness(-1), "max_staleness_ms"),
        (AsKnownAt(NOW_US - KNOWN_AFTER_US + 1), "as_known_at"),
        (AsKnownAt(-1), "as_known_at"),
        (AtCursor("nonsense"), "at"),
        (cursor("another"), "at"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(consistency, field):
    with pytest.raises(Invalid) as caught:
        want(consistency)
    assert caught.value.field == field


def test_a_cursor_of_other_tables_is_refused():
    with pytest.raises(Invalid, match="of another question"):
        want(cursor(), table="quotes")


@pytest.mark.parametrize(
    ("consistency", "page_cursor", "field"),
    [
        (AtCursor("x"), "", "at"),
        (Latest(), "x", "page_cursor"),
        (AsKnownAt(5), "", "as_known_at"),
        (AtSnapshot(5), "", "snapshot"),
        (Latest(), "", ""),
        (MinOffsets({}), "", ""),
        (MaxStaleness(5), "", ""),
    ],
)
def test_rows_that_are_gone_are_the_fault_of_what_chose_them(consistency, page_cursor, field):
    with pytest.raises(Gone) as caught, gone_by_name(consistency, page_cursor):
        raise Gone("these rows")
    assert caught.value.field == field
