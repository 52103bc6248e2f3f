"""Times as users write them: RFC 3339 or whole microseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
EARLIEST_US = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST_US = (datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_ALLOWED = (
    "an RFC 3339 time with an offset and at most 6 decimals (2024-08-08T12:00:00.000001Z; in a URL write + as %2B)"
    " or whole microseconds since 1970"
)


def instant_us(value: object) -> int:
    """Microseconds since 1970 of a time as text or number. Raises ValueError, with what is allowed."""
    if isinstance(value, str):
        if _RFC3339.fullmatch(value):
            try:
                # UTC may be written in lower case; isoformat takes only the upper one.
                moment = datetime.fromisoformat(value.upper())
                found = (moment - _EPOCH) // _MICROSECOND
            except (ValueError, OverflowError):
                raise ValueError(f"must be {_ALLOWED}") from None
        elif _WHOLE.fullmatch(value):
            found = int(value)
        else:
            raise ValueError(f"must be {_ALLOWED}")
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        raise ValueError(f"must be {_ALLOWED}")
    if not EARLIEST_US <= found <= LATEST_US:
        raise ValueError("must be from 0001-01-02 to 9999-12-30")
    return found


Instant = Annotated[
    int,
    BeforeValidator(instant_us),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "minimum": EARLIEST_US, "maximum": LATEST_US},
            ],
            "examples": ["2024-08-08T12:00:00Z", 1723118400000000],
        }
    ),
]
"""A time in a request; microseconds once it is read."""
