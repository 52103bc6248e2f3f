"""Prices and quantities survive exactly, or are refused by name."""

from decimal import Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seamark.market import decimals
from seamark.market.errors import DecimalOutOfRange

UNSCALED = st.integers(-(10**28) + 1, 10**28 - 1)
EXACT = Context(prec=60)


@given(UNSCALED)
@example(10**28 - 1)
@example(-(10**28) + 1)
@example(0)
def test_canonical_text_and_back_is_the_same_value(unscaled):
    text = decimals.text(unscaled)
    assert decimals.parse(text, "price") == unscaled
    assert Decimal(text) == EXACT.scaleb(Decimal(unscaled), -10)


@given(UNSCALED)
def test_canonical_text_has_one_form(unscaled):
    text = decimals.text(unscaled)
    assert "E" not in text
    assert text != "-0"
    assert "." not in text or not text.endswith(("0", "."))


@given(st.integers(0, 18), st.integers(0, 10), st.data())
def test_any_18_digits_with_any_10_decimals_are_read_as_decimal_reads_them(whole, fraction, data):
    digits = st.text("0123456789", min_size=1)
    text = data.draw(digits.map(lambda d: d[:whole] or "0"))
    if fraction:
        text += "." + data.draw(digits.map(lambda d: d[:fraction]))
    text = data.draw(st.sampled_from(["", "-"])) + text
    assert decimals.parse(text, "price") == int(EXACT.scaleb(Decimal(text), 10))


@pytest.mark.parametrize(
    ("text", "unscaled"),
    [
        ("61837.63000000", 618376300000000),
        ("100", 1000000000000),
        ("0.0000000001", 1),
        ("0.00000000010000", 1),
        ("-0", 0),
        ("-1.5", -15000000000),
        ("000000000000000000001.0", 10**10),
        ("999999999999999999.9999999999", 10**28 - 1),
    ],
)
def test_texts_of_venues(text, unscaled):
    assert decimals.parse(text, "price") == unscaled


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "-", "--1", "+1", "1e5", "1E-8", " 1", "1 ", "1_000", "1,5", "1.2.3", "0x1", "NaN"]
    + ["Infinity", "\u0661", "\u00b2", "1.\u0661", "1\n", "1-", "1.-5"],
)
def test_other_forms_are_refused(text):
    with pytest.raises(DecimalOutOfRange, match="price was"):
        decimals.parse(text, "price")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("1000000000000000000", "at most 18 digits before the point"),
        ("0.00000000001", "at most 10 decimals"),
        ("1.23456789012", "at most 10 decimals"),
        ("-1000000000000000000.1", "at most 18 digits"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_rounded(text, allowed):
    with pytest.raises(DecimalOutOfRange, match=f"quantity was '{text}', must be {allowed}"):
        decimals.parse(text, "quantity")


def test_a_long_text_is_not_repeated_in_full():
    with pytest.raises(DecimalOutOfRange) as refused:
        decimals.parse("9" * 100_000, "price")
    assert len(str(refused.value)) < 200


@given(UNSCALED)
@example(127)
@example(128)
@example(-128)
@example(-129)
@example(0)
def test_bytes_are_the_shortest_two_s_complement(unscaled):
    data = decimals.to_bytes(unscaled)
    assert int.from_bytes(data, "big", signed=True) == unscaled
    assert len(data) == 1 or int.from_bytes(data[1:], "big", signed=True) != unscaled
