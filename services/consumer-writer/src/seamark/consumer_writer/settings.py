"""What the consumer-writer can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from seamark.lake.schema import iceberg_schema
from seamark.lake.settings import LakeSettings
from seamark.lake.tables import DEFAULT_PARTITIONING, partition_spec
from seamark.market.routing import bundled_tiers
from seamark.market.schema import RecordKind


class WriterSettings(LakeSettings):
    """Settings of writer, init and adopt. Sizes in bytes, times in seconds."""

    consumer_group: str = Field("seamark-writer", min_length=1, description="a consumer group name")
    flush_seconds: float = Field(60.0, gt=0, le=600, description="more than 0 and at most 600 seconds")
    flush_bytes: int = Field(
        36 * 1024 * 1024, ge=1024 * 1024, le=4 * 1024**3, description="1048576 to 4294967296 bytes"
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
        return self
