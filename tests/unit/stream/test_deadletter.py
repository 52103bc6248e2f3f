"""The header contract of the dead-letter topic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamark.stream.deadletter import (
    MAX_ERROR_BYTES,
    DeadLetter,
    LeftOut,
    LogPosition,
    VenueFrame,
    from_headers,
    to_headers,
)
from seamark.stream.errors import DeadLetterInvalid

NAMES = st.text(st.characters(codec="utf-8"), max_size=40)
NUMBERS = st.integers(0, 2**63 - 1)
POSITIONS = st.builds(LogPosition, NAMES, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS)
FRAMES = st.builds(
    VenueFrame, NAMES, NAMES, NAMES, NUMBERS, st.none() | NAMES, st.none() | NAMES, st.none() | NAMES
)


@given(st.builds(DeadLetter, POSITIONS | FRAMES, NAMES, st.none() | st.builds(LeftOut.of, st.binary())))
def test_headers_carry_the_whole_letter(letter):
    assert from_headers(to_headers(letter)) == letter


def test_a_log_position_is_written_as_documented():
    letter = DeadLetter(LogPosition("market.crypto.trades.binance", 3, 1, 42, 1), "truncated")
    assert to_headers(letter) == [
        ("origin", b"LOG"),
        ("topic", b"market.crypto.trades.binance"),
        ("stream", b"3"),
        ("partition", b"1"),
        ("offset", b"42"),
        ("schema_id", b"1"),
        ("error", b"truncated"),
    ]


def test_bytes_that_were_left_out_are_named_by_number_and_hash():
    letter = DeadLetter(VenueFrame("binance", "spot", "s", 1), "too long", LeftOut.of(b"abc"))
    named = dict(to_headers(letter))
    assert named["value_bytes"] == b"3"
    assert named["sha256"] == b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.text(st.characters(codec="utf-8"), min_size=MAX_ERROR_BYTES // 2, max_size=2 * MAX_ERROR_BYTES))
def test_a_long_reason_is_cut_between_characters(error):
    letter = DeadLetter(VenueFrame("binance", "spot", "s", 1), error)
    kept = from_headers(to_headers(letter)).error
    assert error.startswith(kept)
    assert len(kept.encode()) <= MAX_ERROR_BYTES
    assert kept == error or len(kept.encode()) > MAX_ERROR_BYTES - 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"origin": None}, "'origin' is missing"),
        ({"origin": b"TAIL"}, "must be LOG or LEG"),
        ({"offset": None}, "'offset' is missing"),
        ({"offset": b"x1"}, "'offset' was 'x1'"),
        ({"error": None}, "'error' is missing"),
    ],
)
def test_headers_that_do_not_say_what_they_must_are_refused_by_name(change, complaint):
    headers = dict(to_headers(DeadLetter(LogPosition("t", 1, 0, 7, 1), "e"))) | change
    with pytest.raises(DeadLetterInvalid, match=complaint):
        from_headers(headers.items())


def test_headers_of_others_are_ignored():
    letter = DeadLetter(LogPosition("t", 1, 0, 7, None), "e")
    assert from_headers([("traceparent", b"00-x"), ("empty", None), *to_headers(letter)]) == letter
