"""Prices and quantities as whole numbers of 1e-10: exact from the venue's text to the lake.

The leg calls `parse` and `to_bytes` up to four times a frame, so the usual text takes a
short way through `parse`, and everything unusual a second one.
"""

from __future__ import annotations

import re

from seamark.market.errors import DecimalOutOfRange
from seamark.market.schema import DECIMAL_PRECISION, DECIMAL_SCALE

INTEGER_DIGITS = DECIMAL_PRECISION - DECIMAL_SCALE
LIMIT = 10**DECIMAL_PRECISION
"""Unscaled values of decimal(28,10) lie strictly between -LIMIT and LIMIT."""

_ONE: int = 10**DECIMAL_SCALE
_POWERS: tuple[int, ...] = tuple(10 ** (DECIMAL_SCALE - n) for n in range(DECIMAL_SCALE + 1))
_FORM = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_SHOWN_CHARACTERS = 64


def parse(text: str, field: str) -> int:
    """The unscaled value at scale 10 of a decimal as venues write it: `61837.63000000`.

    Digits, perhaps a minus in front, perhaps a point with digits on both sides; no exponent,
    no plus, no blanks. Never rounds: zeros behind the tenth decimal are dropped, anything
    else there is refused.

    Raises:
        DecimalOutOfRange: the text has another form, or decimal(28,10) cannot hold it exactly.
    """
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if digits.isdecimal() and digits.isascii() and 0 < len(whole) <= INTEGER_DIGITS:
        decimals = len(fraction)
        if 0 < decimals <= DECIMAL_SCALE:
            return int(digits) * _POWERS[decimals]
        if not point:
            return int(digits) * _ONE
    return _parse_unusual(text, field)


def _parse_unusual(text: str, field: str) -> int:
    found = _FORM.fullmatch(text)
    if found is None:
        raise _refused(text, field, "digits with at most one point between them and no exponent")
    sign, whole, fraction = found[1], found[2].lstrip("0"), (found[3] or "").rstrip("0")
    if len(whole) > INTEGER_DIGITS:
        raise _refused(text, field, f"at most {INTEGER_DIGITS} digits before the point")
    if len(fraction) > DECIMAL_SCALE:
        raise _refused(text, field, f"at most {DECIMAL_SCALE} decimals, zeros behind them aside")
    unscaled = int(whole + fraction.ljust(DECIMAL_SCALE, "0"))
    return -unscaled if sign else unscaled


def _refused(text: str, field: str, allowed: str) -> DecimalOutOfRange:
    shown = (
        text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"
    )
    return DecimalOutOfRange(f"{field} was {shown!r}, must be {allowed}")


def to_bytes(unscaled: int) -> bytes:
    """Two's complement, big-endian, as short as it gets: Avro's bytes of a decimal."""
    magnitude = unscaled if unscaled >= 0 else ~unscaled
    return unscaled.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def text(unscaled: int) -> str:
    """Canonical text: `0`, `-1.5`; no exponent, no zeros at the end, no point without decimals."""
    whole, fraction = divmod(abs(unscaled), _ONE)
    sign = "-" if unscaled < 0 else ""
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:0{DECIMAL_SCALE}d}".rstrip("0")
