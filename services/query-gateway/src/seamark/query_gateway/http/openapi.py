"""What OpenAPI says of answers: their schemas, derived from the rows' own, with an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.as_of import AS_OF_SCHEMA
from seamark.query_gateway.bars import BARS_SCHEMA
from seamark.query_gateway.http.aggregate import COLUMNS, aggregate_schema
from seamark.query_gateway.http.errors import ErrorBody
from seamark.query_gateway.http.examples import EXAMPLE_ERROR, EXAMPLE_HEADER, EXAMPLE_ROWS, MEANINGS
from seamark.query_gateway.http.formats import MEDIA_TYPES

Schema = dict[str, Any]

_INTEGER: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_VECTOR: Schema = {
    "type": "object",
    "description": "Offsets by `stream.partition`.",
    "additionalProperties": _INTEGER,
    "example": {"1.0": 500},
}


def _object(
    properties: Mapping[str, Schema], description: str = "", required: Sequence[str] | None = None
) -> Schema:
    found: Schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }
    return found | ({"description": description} if description else {})


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _column(arrow: pa.DataType) -> Schema:
    if pa.types.is_decimal(arrow):
        return {
            "type": "string",
            "pattern": r"^-?[0-9]+(\.[0-9]*[1-9])?$",
            "description": "Canonical decimal.",
        }
    if pa.types.is_timestamp(arrow):
        return {"type": "string", "format": "date-time"}
    if pa.types.is_date(arrow):
        return {"type": "string", "format": "date"}
    if pa.types.is_boolean(arrow):
        return _FLAG
    if pa.types.is_integer(arrow):
        return _INTEGER
    if pa.types.is_list(arrow):
        return _array(_column(arrow.value_type))
    if pa.types.is_struct(arrow):
        return _object({field.name: _column(field.type) for field in arrow})
    return _TEXT


def _row(schema: pa.Schema, meanings: Mapping[str, str]) -> Schema:
    columns = {f.name: _nullable(_column(f.type)) if f.nullable else _column(f.type) for f in schema}
    for name, meaning in meanings.items():
        columns[name] = {**columns[name], "description": meaning}
    return _object(columns, "Columns that were not asked for are absent.", required=())


_RANGE = _object(
    {
        "partition": _TEXT,
        "from": _INTEGER,
        "to": {"anyOf": [_INTEGER, {"const": "unknown"}]},
        "reason": _TEXT,
    }
)
_TABLE = _object(
    {
        "snapshot": _nullable({"type": "integer", "description": "S."}),
        "pin_age_ms": _INTEGER,
        "revision": _INTEGER,
        "H": _VECTOR,
        "E": _VECTOR,
        "lo": _VECTOR,
        "excluded": _array(_object({"partition": _TEXT, "from": _INTEGER, "to": _INTEGER, "cause": _TEXT})),
        "missing": _array(_RANGE),
        "committed_age_ms": _INTEGER,
    },
    "What was read of one table: answer = history(S) and log rows with H ≤ offset < E.",
)
_ESTIMATE = {"rows": _INTEGER, "bytes": _INTEGER, "files": _INTEGER, "cost": _INTEGER}
_GAP = {
    "gap_id": _TEXT,
    "exchange": _TEXT,
    "market": _TEXT,
    "symbol": _TEXT,
    "first_sequence": _INTEGER,
    "last_sequence": _INTEGER,
    "state": _TEXT,
}
_HEADER = _object(
    {
        "exact": {
            "type": "boolean",
            "description": "Every row below E that matches is there, once. Never with 206.",
        },
        "reason": _nullable(
            {"type": "string", "description": "What is amiss: why it is not exact, or has no cursor."}
        ),
        "tables": {"type": "object", "additionalProperties": _ref("TableHeader")},
        "freshness_ms": {
            "type": "integer",
            "description": "All that was appended until so long ago was seen.",
        },
        "gaps": {
            **_nullable(_array(_object(_GAP, "A hole in what the feed delivered."))),
            "description": "Holes of the feed over these rows; null: nobody can say.",
        },
        "level": {"enum": ["NORMAL", "SOFT", "GRACEFUL", "AGGRESSIVE", "CIRCUIT_BREAK"]},
        "clock": {"enum": ["event", "receive"]},
        "engine": {"enum": ["direct", "trino"]},
        "estimate": _object(_ESTIMATE),
        "cursor": {
            "type": "string",
            "description": "As `at`, it gives the same rows again; empty where `reason` says no_cursor.",
        },
        "query_id": _TEXT,
    },
    "The proof that comes with the rows.",
)

_SYMBOL_SCHEMA = pa.schema(
    [row_schema(RecordKind.REFERENCE_DATA).field(name) for name in ("exchange", "market", "symbol", "status")]
)
SYMBOL_FIELDS = tuple(_SYMBOL_SCHEMA.names)
_ROWS: Mapping[str, pa.Schema] = {
    **{kind.value: row_schema(kind) for kind in RecordKind},
    "bars": BARS_SCHEMA,
    "aggregate": aggregate_schema(tuple(COLUMNS)),
    "as_of": AS_OF_SCHEMA,
    "symbols": _SYMBOL_SCHEMA,
}
SNAPSHOTS = (
    "Snapshots",
    _object(
        {
            "snapshots": _array(
                _object(
                    {
                        "snapshot_id": _INTEGER,
                        "timestamp": {"type": "string", "format": "date-time"},
                        "operation": _TEXT,
                        "H": _VECTOR,
                        "pinnable": _FLAG,
                        "reason": _nullable(_TEXT),
                    }
                )
            )
        }
    ),
    {
        "snapshots": [
            {"snapshot_id": 4711, "timestamp": "2024-08-08T12:00:00.000Z", "operation": "append", "H": {"1.0": 480}, "pinnable": True, "reason": None}
        ]
    },
)  # fmt: skip
WATERMARK = (
    "Watermark",
    _object({"table": _TEXT, "freshness_ms": _INTEGER, "header": _ref("TableHeader")}),
    {"table": "trades", "freshness_ms": 8, "header": EXAMPLE_HEADER["tables"]["trades"]},
)
ESTIMATE = (
    "Estimate",
    _object({**_ESTIMATE, "engine": {"enum": ["direct", "trino"]}}, "Rows are an upper bound; cost is what a quota is charged."),
    {"rows": 20, "bytes": 4096, "files": 1, "cost": 1, "engine": "direct"},
)  # fmt: skip
_QUERY = _object(
    {"query_id": _TEXT, "caller": _TEXT, "question": _TEXT, "seconds": {"type": "number"}, "rows": _INTEGER}
)
QUERIES = (
    "Queries",
    _object({"queries": _array(_QUERY)}),
    {
        "queries": [
            {"query_id": EXAMPLE_HEADER["query_id"], "caller": "alice", "question": "GET /v1/trades {}", "seconds": 1.2, "rows": 8192}
        ]
    },
)  # fmt: skip
CANCELLED = ("Cancelled", _object({"cancelled": _TEXT}), {"cancelled": EXAMPLE_HEADER["query_id"]})
READY = (
    "Ready",
    _object({"ready": _FLAG, "auth": {"enum": ["on", "off"]}, "reason": _nullable(_TEXT)}),
    {"ready": True, "auth": "on", "reason": None},
)
_DOCUMENTS = (SNAPSHOTS, WATERMARK, ESTIMATE, QUERIES, CANCELLED, READY)

_ERRORS = {
    400: "The request itself is wrong.",
    401: "No API key, or one that is not known.",
    403: "Not with this key's roles.",
    404: "There is no such thing.",
    410: "These rows cannot be given any more.",
    412: "The freshness asked for was not reached.",
    413: "The body is too large.",
    429: "Over a quota or a cap; `Retry-After` where waiting helps.",
    499: "Stopped by its caller or an operator.",
    500: "A mistake of the server.",
    503: "Nothing truthful can be said now.",
}


def _errors() -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ref("ErrorBody"), "example": EXAMPLE_ERROR}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": content} for status, text in _ERRORS.items()
    }
    found[429]["headers"] = {"Retry-After": {"schema": _INTEGER, "description": "Seconds."}}
    return found


def _name(rows: str) -> str:
    return "".join(part.capitalize() for part in rows.split("_")) + "Answer"


def answer_of(rows: str) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that gives rows of that name."""
    example = {"header": EXAMPLE_HEADER, "rows": [EXAMPLE_ROWS[rows]], "next_cursor": None}
    content: dict[str, Any] = {
        media.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
        for media in MEDIA_TYPES.values()
    }
    content["application/json"] = {"schema": _ref(_name(rows)), "example": example}
    headers = {
        name: {"schema": _TEXT, "description": text}
        for name, text in {
            "Seamark-Answer": "The header as compact JSON, without its cursor; shortened beyond 8,000 bytes.",
            "Seamark-Exact": "true or false.",
            "Seamark-Cursor": "As `at`, it gives the same rows again.",
            "Seamark-Next-Cursor": "As `page_cursor`, it gives the next page. Absent where there is none.",
            "Seamark-Query-Id": "Names the request among the running ones.",
            "X-Correlation-Id": "Names the request in logs.",
        }.items()
    }
    whole = {"description": "No range is missing.", "content": content, "headers": headers}
    partial = whole | {"description": "Ranges are missing: the header names them."}
    return {200: whole, 206: partial, **_errors()}


def document_of(document: tuple[str, Schema, object]) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that gives one small document."""
    name, _, example = document
    content = {"application/json": {"schema": _ref(name), "example": example}}
    return {200: {"description": "As asked.", "content": content}, **_errors()}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with our components, without what we never answer, and with the keys."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    error = ErrorBody.model_json_schema()
    components |= {"TableHeader": _TABLE, "AnswerHeader": _HEADER, "ErrorBody": error}
    components |= {name: schema for name, schema, _ in _DOCUMENTS}
    for rows, schema in _ROWS.items():
        components[_name(rows)] = _object(
            {
                "header": _ref("AnswerHeader"),
                "rows": _array(_row(schema, MEANINGS.get(rows, {}))),
                "next_cursor": _nullable(_TEXT),
            }
        )
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if path.startswith("/v1/"):
                operation["security"] = [{"bearer": []}, {"key": []}]
    return document
