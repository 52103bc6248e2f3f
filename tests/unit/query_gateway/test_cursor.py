"""A cursor comes back as it was given, and no text that was not given is one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.cursor import MAX_BYTES, Cursor, CursorCodec, CursorTooLong, Ended, TableCursor
from seamark.query_gateway.errors import Invalid

CODEC = CursorCodec(b"a secret of sixteen")
OTHERS = CursorCodec(b"another of sixteen!")
LAW = settings(deadline=None)
LONG = st.integers(0, 2**63 - 1)
VECTORS = st.dictionaries(
    st.builds(StreamPartition, st.integers(0, 9), st.integers(0, 40)), LONG, max_size=60
)
ENDED = st.builds(
    Ended, st.frozensets(st.integers(10, 500), min_size=1, max_size=20), st.integers(0, 2**32 - 1)
)
TABLES = st.builds(
    TableCursor, st.none() | LONG, VECTORS, st.integers(0, 9), st.none() | LONG, st.none() | ENDED
)
POSITIONS = st.none() | st.lists(
    st.none() | st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1), max_size=10
).map(tuple)
CURSORS = st.builds(
    Cursor,
    st.text("0123456789abcdef", max_size=16),
    st.dictionaries(st.sampled_from(["trades", "quotes"]), TABLES),
    POSITIONS,
)
ONE = Cursor(
    "0123456789abcdef",
    {"trades": TableCursor(2**62, {StreamPartition(1, p): 10**9 + p * 7919 for p in range(8)}, 3)},
    (1_700_000_000_000_000, "binance", "spot", "AAA", "trade", 0, None, 1, 0, 7),
)


def refused(text, codec=CODEC):
    with pytest.raises(Invalid) as caught:
        codec.decode(text, "page_cursor")
    assert caught.value.field == "page_cursor"
    assert "page_cursor was" in str(caught.value)


@LAW
@given(CURSORS)
def test_a_cursor_comes_back_as_it_was_given(cursor):
    text = CODEC.encode(cursor)
    assert CODEC.decode(text) == cursor
    assert len(text.encode("ascii")) <= MAX_BYTES
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize("counts", [(600,), (300, 300), (250, 250, 60)])
def test_six_hundred_partitions_of_busy_logs_fit(counts):
    tables = {}
    for number, count in enumerate(counts):
        scattered = {StreamPartition(7, p): (p + 1) * 987_654_321_987 % 10**11 for p in range(count)}
        ended = Ended(frozenset(range(20)), 2**32 - 1)
        tables[f"table_{number}"] = TableCursor(2**63 - 1, scattered, 10**6, 10**15, ended)
    cursor = Cursor(ONE.question, tables, ONE.position)
    assert CODEC.decode(CODEC.encode(cursor)) == cursor


def test_a_cursor_that_would_be_too_long_is_not_made():
    scattered = {StreamPartition(7, p): (p + 1) * 987_654_321_987 % 10**11 for p in range(2_000)}
    with pytest.raises(CursorTooLong, match=r"of 2000 partitions, must be at most 4096"):
        CODEC.encode(Cursor("", {"trades": TableCursor(1, scattered, 0)}))


def test_a_change_of_any_character_is_refused():
    text = CODEC.encode(ONE)
    for at, character in enumerate(text):
        for other in "A_z9-":
            if other != character:
                refused(text[:at] + other + text[at + 1 :])


def test_a_flip_of_any_bit_is_refused():
    text = CODEC.encode(ONE)
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        refused(base64.urlsafe_b64encode(data).rstrip(b"=").decode())
        data[bit // 8] ^= 1 << bit % 8


def test_any_part_of_a_cursor_is_refused():
    text = CODEC.encode(ONE)
    for length in range(len(text)):
        refused(text[:length])
        refused(text[len(text) - length :] if length else "")


@LAW
@given(CURSORS)
def test_a_cursor_of_another_deployment_is_refused(cursor):
    refused(OTHERS.encode(cursor))


@LAW
@given(
    st.text()
    | st.text("abcdefgXYZ0189-_=+/", max_size=200)
    | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode())
)
@example("")
@example("\ud800")
@example("=")
@example("====")
@example("é" * 100)
@example("A" * MAX_BYTES)
@example("A" * (MAX_BYTES + 1))
@example("\x00")
def test_any_text_is_refused_and_nothing_else_happens(text):
    refused(text)


@pytest.mark.parametrize("dress", [" {}", "{} ", "{}=", "{}==", "{}\n", "{}A", "{}é", "{0}{0}"])
def test_a_cursor_with_anything_around_it_is_refused(dress):
    refused(dress.format(CODEC.encode(ONE)))


def test_the_same_bytes_in_another_spelling_are_refused():
    spelled = next(
        text
        for number in range(1_000)
        if ("-" in (text := CODEC.encode(Cursor(str(number), {}))) or "_" in text)
    )
    refused(spelled.replace("-", "+").replace("_", "/"))


def test_a_short_secret_is_not_taken():
    with pytest.raises(ValueError, match="15 bytes, must be 16 or more"):
        CursorCodec(b"x" * 15)
