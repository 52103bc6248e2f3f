"""What a log record must be to count, by the oracle's own rules."""

from dataclasses import replace
from typing import Any

from seamark_oracle.avro import NotAvro, read_record
from seamark_oracle.contract import (
    DECIMAL_LIMIT,
    EVENT_KINDS,
    FEEDS,
    FIRST_DAY,
    LAST_DAY,
    MAX_BYTES,
    RECORDS,
    SCHEMA_IDS,
    TIME_LIMIT_US,
    Type,
)

_FRAME_BYTES = 5


class Refused(Exception):
    """The record's bytes do not keep the contract: it is a dead letter."""


class SchemaUnknown(Exception):
    """The schema id is newer than what is known here: neither a row nor a dead letter."""


class RecordReader:
    """Reads the records of one table."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._fields = RECORDS[table]
        # What an enum did not have when a record was written, the record cannot hold.
        self._before = {
            schema_id: tuple(replace(f, symbols=f.symbols[:kinds]) for f in self._fields)
            for schema_id, kinds in EVENT_KINDS.items()
            if SCHEMA_IDS[schema_id] == table
        }
        named = list(enumerate(self._fields))
        self._decimals = [(at, f.name) for at, f in named if f.type is Type.DECIMAL]
        self._times = [(at, f.name) for at, f in named if f.type is Type.MICROS]
        self._dates = [(at, f.name) for at, f in named if f.type is Type.DATE]
        self._texts = [(at, f.name, MAX_BYTES[f.name]) for at, f in named if f.name in MAX_BYTES]
        self._feed = FEEDS.get(table)
        self._sequence = [f.name for f in self._fields].index("source_sequence") if self._feed else -1

    def read(self, value: bytes | None) -> list[Any]:
        """The values of a framed record in field order. Raises Refused or SchemaUnknown."""
        if value is None or len(value) < _FRAME_BYTES or value[0] != 0:
            raise Refused("no frame of byte 0, schema id and body")
        schema_id = int.from_bytes(value[1:_FRAME_BYTES], "big")
        if schema_id not in SCHEMA_IDS:
            raise SchemaUnknown(f"schema id {schema_id}")
        if SCHEMA_IDS[schema_id] != self._table:
            raise Refused(f"schema id {schema_id} is of {SCHEMA_IDS[schema_id]}")
        try:
            values = read_record(self._before.get(schema_id, self._fields), value, _FRAME_BYTES)
        except NotAvro as error:
            raise Refused(str(error)) from None
        self._check(values)
        return values

    def _check(self, values: list[Any]) -> None:
        for at, name in self._decimals:
            if (number := values[at]) is not None and not -DECIMAL_LIMIT < number < DECIMAL_LIMIT:
                raise Refused(f"{name} has more than 28 digits")
        for at, name in self._times:
            if (instant := values[at]) is not None and not 0 <= instant < TIME_LIMIT_US:
                raise Refused(f"{name} is not of 1970 to 2199")
        for at, name in self._dates:
            if (day := values[at]) is not None and not FIRST_DAY <= day <= LAST_DAY:
                raise Refused(f"{name} is not of the years 1 to 9999")
        for at, name, limit in self._texts:
            text = values[at]
            if text is not None and not (text and len(text.encode()) <= limit):
                raise Refused(f"{name} is empty or longer than {limit} bytes")
        if self._feed is not None:
            sequence = values[self._sequence]
            if sequence is None or sequence < 0:
                raise Refused(f"source_sequence was {sequence}, must be 0 or more")
            if (values[0], values[1], values[2]) != self._feed:
                raise Refused(f"feed was {':'.join(values[:3])}, must be {':'.join(self._feed)}")
