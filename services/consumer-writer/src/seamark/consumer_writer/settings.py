"""What the consumer-writer can be told."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from seamark.lake.schema import iceberg_schema
from seamark.lake.tables import DEFAULT_PARTITIONING, partition_spec
from seamark.market.routing import bundled_tiers
from seamark.market.schema import RecordKind
from seamark.settings import ServiceSettings

_STATE_URI = r"^(s3://[^/\s]+|file:///)\S*$"


class WriterSettings(ServiceSettings):
    """Settings of writer, init and adopt. Sizes in bytes, times in seconds."""

    catalog_name: str = Field("lake", min_length=1, description="the catalog's name")
    catalog_type: Literal["rest", "sql"] = Field(
        "rest", description="rest (any Iceberg REST catalog) or sql (JDBC catalog)"
    )
    catalog_uri: str = Field(pattern=r"^\S+$", description="the address of the Iceberg catalog")
    catalog_warehouse: str = Field("", description="the warehouse to ask the catalog for")
    catalog_credential: SecretStr = Field(SecretStr(""), description="client id:secret for OAuth2, or empty")
    catalog_oauth2_uri: str = Field("", description="the OAuth2 token address, or empty")
    catalog_timeout_seconds: float = Field(30.0, gt=0, description="more than 0 seconds")
    catalog_namespace: str = Field(
        "market", pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits, _"
    )
    s3_endpoint: str = Field("", description="the address of the object store, or empty for the cloud's own")
    s3_region: str = Field("us-east-1", min_length=1, description="a region name")
    s3_access_key_id: SecretStr = Field(SecretStr(""), description="an access key id")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="a secret access key")
    state_uri: str = Field(
        pattern=_STATE_URI,
        description="s3://bucket/folder or file:///folder outside every table, for state files",
    )

    consumer_group: str = Field("seamark-writer", min_length=1, description="a consumer group name")
    flush_seconds: float = Field(60.0, gt=0, le=600, description="more than 0 and at most 600 seconds")
    flush_bytes: int = Field(
        48 * 1024 * 1024, ge=1024 * 1024, le=4 * 1024**3, description="1048576 to 4294967296 bytes"
    )
    committed_age_objective_seconds: float = Field(
        0.0, ge=0, description="seconds; 0 means twice the flush interval"
    )
    poll_records: int = Field(20_000, ge=1, le=1_000_000, description="1 to 1000000 records")
    on_log_start: Literal["stop", "lost"] = Field(
        "stop", description="stop, or lost to record offsets that the log no longer has as lost"
    )
    partitioning: str = Field(
        DEFAULT_PARTITIONING,
        description="hour(timestamp) or day(timestamp), and bucket(N, symbol), separated by a comma",
    )
    target_snapshots: int = Field(60, ge=2, le=10_000, description="2 to 10000 snapshots")
    snapshot_min_age_seconds: float = Field(900.0, ge=0, description="0 or more seconds")
    state_retention_seconds: float = Field(3600.0, ge=0, description="0 or more seconds")
    start_timeout_seconds: float = Field(60.0, gt=0, description="more than 0 seconds")
    stop_timeout_seconds: float = Field(30.0, gt=0, description="more than 0 seconds")
    partitions: int = Field(4, ge=1, le=10_000, description="1 to 10000 partitions for new topics")
    replication_factor: int = Field(1, ge=1, le=10, description="1 to 10 replicas for new topics")

    @field_validator("asset_class")
    @classmethod
    def _check_asset_class(cls, name: str) -> str:
        bundled_tiers(name)  # there is no routing without them
        return name

    @field_validator("partitioning")
    @classmethod
    def _check_partitioning(cls, text: str) -> str:
        try:
            partition_spec(RecordKind.TRADES, iceberg_schema(RecordKind.TRADES), text)
        except ValueError:
            # The description says what is allowed; the reason would only say it once more.
            raise PydanticCustomError("partitioning", "no partitioning") from None
        return text

    @model_validator(mode="after")
    def _check(self) -> WriterSettings:
        objective = self.committed_age_objective_seconds
        if objective and self.flush_seconds > objective:
            raise ValueError(
                f"SEAMARK_FLUSH_SECONDS was {self.flush_seconds}, must be at most "
                f"SEAMARK_COMMITTED_AGE_OBJECTIVE_SECONDS ({objective})"
            )
        if self.catalog_type == "rest" and not re.match(r"https?://", self.catalog_uri):
            raise ValueError(
                f"SEAMARK_CATALOG_URI was {self.catalog_uri!r}, must begin with http:// or https://"
            )
        return self

    def catalog_properties(self) -> dict[str, str]:
        """Properties for pyiceberg's load_catalog and for the object store."""
        properties = {
            "type": self.catalog_type,
            "uri": self.catalog_uri,
            "warehouse": self.catalog_warehouse,
            "credential": self.catalog_credential.get_secret_value(),
            "oauth2-server-uri": self.catalog_oauth2_uri,
            "s3.endpoint": self.s3_endpoint,
            "s3.region": self.s3_region,
            "s3.access-key-id": self.s3_access_key_id.get_secret_value(),
            "s3.secret-access-key": self.s3_secret_access_key.get_secret_value(),
        }
        if self.s3_endpoint:
            properties["s3.force-virtual-addressing"] = "false"
        return {name: value for name, value in properties.items() if value}
