"""docs/reference/schemas.md says what the contracts say, field by field."""

from pathlib import Path

import pytest

from seamark.lake.schema import iceberg_schema
from seamark.market.schema import (
    POSITION_FIELDS,
    RecordKind,
    arrow_schema,
    avro_schema,
    row_schema,
)
from seamark.stream.wire import FIXED_SCHEMA_IDS

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "schemas.md"
HEAD = "| field | Avro | Arrow | Iceberg | meaning |\n|---|---|---|---|---|\n"
V2_FIELDS = {"trade": 15, "quote": 15, "reference": 13}


def avro_text(avro_type):
    match avro_type:
        case ["null", other]:
            return f"{avro_text(other)}, nullable"
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return f"bytes decimal({precision},{scale})"
        case {"logicalType": logical, "type": physical}:
            return f"{physical} {logical}"
        case {"type": "enum", "symbols": symbols}:
            return f"enum {', '.join(symbols)}"
        case {"type": "array", "items": {"fields": fields}}:
            return "array of {" + ", ".join(f"{f['name']}: {avro_text(f['type'])}" for f in fields) + "}"
        case {"type": "array", "items": items}:
            return f"array of {avro_text(items)}"
        case _:
            return str(avro_type)


def table(fields, arrow, iceberg):
    """The table of a contract as the document must show it."""
    lines = []
    for field in fields:
        name = field["name"]
        arrow_type = str(arrow.field(name).type)
        iceberg_type = str(iceberg.find_field(name).field_type)
        if iceberg_type.startswith("list<struct"):
            arrow_type, iceberg_type = "list of struct", "list of struct"
        avro = avro_text(field["type"])
        lines.append(f"| `{name}` | {avro} | {arrow_type} | {iceberg_type} | {field['doc']} |\n")
    return HEAD + "".join(lines)


@pytest.mark.parametrize("kind", RecordKind)
def test_the_document_shows_every_field_of_the_contract(kind):
    expected = table(avro_schema(kind)["fields"], arrow_schema(kind), iceberg_schema(kind))
    assert expected in DOCUMENT.read_text()


def test_the_document_shows_every_position_column():
    kind = RecordKind.TRADES
    assert table(POSITION_FIELDS, row_schema(kind), iceberg_schema(kind)) in DOCUMENT.read_text()


def test_the_document_shows_the_fixed_schema_ids():
    text = DOCUMENT.read_text()
    for kind, schema_id in FIXED_SCHEMA_IDS.items():
        assert f"| `{kind.value}` | {schema_id} |" in text


def test_every_field_of_the_v2_contracts_is_mapped_once():
    for name, count in V2_FIELDS.items():
        section = DOCUMENT.read_text().split(f"### V2 {name}\n")[1].split("\n### ")[0]
        rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]
        assert len(rows) == len(set(rows)) == count
