"""The Iceberg tables: how each is partitioned, sorted and set up."""

from __future__ import annotations

import contextlib
import re

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    Transform,
)

from seamark.lake.schema import iceberg_schema
from seamark.market.order import iceberg_sort_columns
from seamark.market.schema import RecordKind

DEFAULT_PARTITIONING = "hour(timestamp)"
_EVENT_PARTITIONING = "day(kafka_timestamp)"
_TERM = re.compile(r"(hour|day|bucket)\(\s*(?:(\d+)\s*,\s*)?(\w+)\s*\)")
_COMMA = re.compile(r"\s*,\s*(?![^(]*\))")
"""A comma between terms, not within one."""

TABLE_PROPERTIES = {
    "format-version": "2",
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    "commit.manifest-merge.enabled": "true",
    # Small manifests are folded together early: planning reads one file, not hundreds.
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def partition_spec(
    kind: RecordKind, schema: Schema, partitioning: str = DEFAULT_PARTITIONING
) -> PartitionSpec:
    """The partition spec of a table.

    `partitioning` (trades and quotes): terms `hour(timestamp)`, `day(timestamp)`,
    `bucket(N, symbol)`, comma-separated. Never identity(symbol): a commit over 200 symbols
    would write 200 files. Events and reference data are partitioned by day of arrival.

    Raises:
        ValueError: the text has another form.
    """
    text = partitioning if kind.sequenced else _EVENT_PARTITIONING
    refused = ValueError(
        f"partitioning was {partitioning!r}, must be at most one of hour(timestamp) and day(timestamp) and at "
        f"most one bucket(N, symbol), separated by a comma"
    )
    fields: dict[str, PartitionField] = {}
    for term in _COMMA.split(text.strip()):
        match = _TERM.fullmatch(term)
        if match is None:
            raise refused
        name, count, column = match.groups()
        transform: Transform[object, object]
        if name == "bucket" and count and int(count) > 0 and column == "symbol":
            transform = BucketTransform(int(count))  # type: ignore[assignment]
        elif (
            name != "bucket"
            and not count
            and column == ("timestamp" if kind.sequenced else "kafka_timestamp")
        ):
            transform = HourTransform() if name == "hour" else DayTransform()  # type: ignore[assignment]
        else:
            raise refused
        if column in fields:  # an hour lies in its day: catalogs refuse two terms over one column
            raise refused
        source = schema.find_field(column)
        fields[column] = PartitionField(source.field_id, 1000 + len(fields), transform, f"{column}_{name}")
    return PartitionSpec(*fields.values())


def sort_order(kind: RecordKind, schema: Schema) -> SortOrder:
    """The declared order of rows in a file: symbol first, then the total order."""
    return SortOrder(
        *(
            SortField(
                source_id=schema.find_field(column).field_id,
                transform=IdentityTransform(),
                null_order=NullOrder.NULLS_LAST,
            )
            for column in iceberg_sort_columns(kind)
        )
    )


def create_table(
    catalog: Catalog, namespace: str, kind: RecordKind, partitioning: str = DEFAULT_PARTITIONING
) -> bool:
    """Make namespace and table if they are not there; True if the table is new.

    An existing table is left as it is: its own spec and order go on.
    """
    schema = iceberg_schema(kind)
    with contextlib.suppress(NamespaceAlreadyExistsError):
        catalog.create_namespace(namespace)
    try:
        catalog.create_table(
            (namespace, kind.value),
            schema=schema,
            partition_spec=partition_spec(kind, schema, partitioning),
            sort_order=sort_order(kind, schema),
            properties=TABLE_PROPERTIES,
        )
    except TableAlreadyExistsError:
        return False
    return True
