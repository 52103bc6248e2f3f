"""What the tail-cache can be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from seamark.lake.settings import LakeSettings


class TailSettings(LakeSettings):
    """Settings of one replica. Sizes in bytes, times in seconds."""

    grpc_host: str = Field("127.0.0.1", min_length=1, description="the address to answer on")
    grpc_port: int = Field(9095, ge=0, le=65_535, description="a port from 1 to 65535, or 0 for any")
    replicas: int = Field(1, ge=1, le=1_000, description="1 to 1000 replicas")
    ordinal: int = Field(0, ge=0, description="0 to one below the number of replicas")
    replication: int = Field(1, ge=1, description="1 to the number of replicas")
    consumer_group: str = Field("seamark-writer", min_length=1, description="a consumer group name")
    memory_bytes: int = Field(
        1024**3, ge=16 * 1024**2, le=1024**4, description="16777216 to 1099511627776 bytes"
    )
    spill_folder: Path = Field(description="a folder that no other process uses")
    pin_retention_seconds: float = Field(
        330.0, ge=0, le=3_600, description="0 to 3600 seconds: 30 more than the longest deadline of a query"
    )
    longest_read_seconds: float = Field(30.0, gt=0, le=600, description="more than 0 and at most 600 seconds")
    concurrent_reads: int = Field(4, ge=1, le=256, description="1 to 256 reads")
    waiting_reads: int = Field(256, ge=0, le=100_000, description="0 to 100000 reads")

    @model_validator(mode="after")
    def _check(self) -> TailSettings:
        if self.ordinal >= self.replicas:
            raise ValueError(
                f"SEAMARK_ORDINAL was {self.ordinal}, must be below SEAMARK_REPLICAS ({self.replicas})"
            )
        if self.replication > self.replicas:
            raise ValueError(
                f"SEAMARK_REPLICATION was {self.replication}, must be at most SEAMARK_REPLICAS ({self.replicas})"
            )
        return self
