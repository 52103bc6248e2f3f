"""Formats of answers. Each writes a head, rows batch by batch, and a tail; calls may run off the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from seamark.query_gateway.arrow_stream import ArrowStream, Sink
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.http.text import csv_lines, json_lines, json_objects

Document: TypeAlias = Mapping[str, object]
TEXT_ROWS = 4_096
"""Rows of a piece of text: about a MiB of trades."""
ROW_GROUP_ROWS = 131_072
"""Rows of a Parquet row group; it is in memory until it is full."""

MEDIA_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


class Encoder(Protocol):
    """Writes one answer. Calls come one after another."""

    piece_rows: int
    """Rows of a batch at most, 0: any."""

    def head(self) -> bytes: ...

    def rows(self, batch: pa.RecordBatch) -> bytes: ...

    def tail(self, rows: int, next_cursor: str) -> bytes: ...


class Json:
    """{"header": …, "rows": […], "next_cursor": …}."""

    piece_rows = TEXT_ROWS

    def __init__(self, header: Document, schema: pa.Schema) -> None:
        self._header = header
        self._begun = False

    def head(self) -> bytes:
        return b'{"header":' + orjson.dumps(self._header) + b',"rows":['

    def rows(self, batch: pa.RecordBatch) -> bytes:
        rows = json_objects(batch)
        if self._begun:
            return b"," + rows
        self._begun = True
        return rows

    def tail(self, rows: int, next_cursor: str) -> bytes:
        return b'],"next_cursor":' + orjson.dumps(next_cursor or None) + b"}"


class Ndjson:
    """A line {"header": …}, a line for each row, a line {"end": {"rows", "next_cursor"}}."""

    piece_rows = TEXT_ROWS

    def __init__(self, header: Document, schema: pa.Schema) -> None:
        self._header = header

    def head(self) -> bytes:
        return orjson.dumps({"header": self._header}) + b"\n"

    def rows(self, batch: pa.RecordBatch) -> bytes:
        return json_lines(batch)

    def tail(self, rows: int, next_cursor: str) -> bytes:
        return orjson.dumps({"end": {"rows": rows, "next_cursor": next_cursor or None}}) + b"\n"


class Csv:
    """A line of names, a line for each row."""

    piece_rows = TEXT_ROWS

    def __init__(self, header: Document, schema: pa.Schema) -> None:
        self._names = schema.names

    def head(self) -> bytes:
        return ",".join(self._names).encode() + b"\n"

    def rows(self, batch: pa.RecordBatch) -> bytes:
        return csv_lines(batch)

    def tail(self, rows: int, next_cursor: str) -> bytes:
        return b""


def _described(schema: pa.Schema, header: Document) -> pa.Schema:
    """A file on a disk still says what it is made of."""
    return schema.with_metadata({"seamark.header": orjson.dumps(header)})


class Arrow:
    """An IPC stream; the header is in the schema's metadata, `seamark.header`."""

    piece_rows = 0

    def __init__(self, header: Document, schema: pa.Schema) -> None:
        self._stream = ArrowStream(_described(schema, header))

    def head(self) -> bytes:
        return self._stream.head()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        return self._stream.rows(batch)

    def tail(self, rows: int, next_cursor: str) -> bytes:
        return self._stream.tail()


class Parquet:
    """A file; the header is in its metadata, `seamark.header`."""

    piece_rows = 0

    def __init__(self, header: Document, schema: pa.Schema) -> None:
        self._sink = Sink()
        self._schema = _described(schema, header)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def head(self) -> bytes:
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        return self._sink.taken()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._write()
        return self._sink.taken()

    def _write(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._waiting, self._rows = [], 0

    def tail(self, rows: int, next_cursor: str) -> bytes:
        self._write()
        self._writer.close()
        return self._sink.taken()


_ENCODERS: Mapping[str, type[Json] | type[Ndjson] | type[Csv] | type[Arrow] | type[Parquet]] = {
    "json": Json,
    "ndjson": Ndjson,
    "csv": Csv,
    "arrow": Arrow,
    "parquet": Parquet,
}


def encoder(name: str, header: Document, schema: pa.Schema) -> Encoder:
    """An encoder of one answer."""
    return _ENCODERS[name](header, schema)


def format_of(name: str | None, accept: str | None) -> str:
    """The format that is asked for by name, else by the Accept header, else JSON.

    Raises:
        Invalid: Accept names none of those that there are.
    """
    if name:
        return name
    ranges: list[tuple[float, str]] = []
    for part in (accept or "*/*").split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            ranges.append((float(quality), media))
        except ValueError:
            continue
    for weight, media in sorted(ranges, key=lambda one: -one[0]):
        if weight <= 0:
            continue
        for candidate, full in MEDIA_TYPES.items():
            kind = full.partition(";")[0]
            if media in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
                return candidate
    raise Invalid(
        "Accept", f"Accept was {(accept or '')[:128]!r}, must name one of {', '.join(MEDIA_TYPES.values())}"
    )
