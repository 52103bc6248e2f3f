"""What the query-gateway can be told."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from seamark.lake.settings import LakeSettings
from seamark.settings import CommaSeparated

_ADDRESS = re.compile(r"[^\s:,]+:[0-9]{1,5}")
_GIB = 1024**3


def _addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address!r} is no host:port")
    return addresses


class GatewaySettings(LakeSettings):
    """Settings of a gateway. Sizes in bytes, times in seconds."""

    http_host: str = Field("127.0.0.1", min_length=1, description="the address to answer HTTP on")
    http_port: int = Field(8080, ge=0, le=65_535, description="a port from 1 to 65535, or 0 for any")
    grpc_host: str = Field("127.0.0.1", min_length=1, description="the address to answer gRPC on")
    grpc_port: int = Field(9096, ge=0, le=65_535, description="a port from 1 to 65535, or 0 for any")
    drain_seconds: float = Field(
        20.0, gt=0, le=3_600, description="0 to 3600: seconds for answers under way at the end"
    )

    tail_addresses: Annotated[CommaSeparated, AfterValidator(_addresses)] = Field(
        min_length=1, description="host:port of each tail replica in the order of ordinals, by commas"
    )
    tail_replication: int = Field(1, ge=1, description="1 to the number of tail replicas, as they have it")
    tail_rows: int = Field(
        5_000_000, ge=0, description="0 (no limit) or more: rows that one answer may take of a tail replica"
    )
    log_budget_rows: int = Field(
        2_000_000, ge=0, description="0 or more: offsets of a table read straight from Kafka for one answer"
    )
    cache_bytes: int = Field(
        256 * 1024**2,
        ge=1024**2,
        le=1024**4,
        description="1048576 to 1099511627776 bytes of footers and plans",
    )
    read_threads: int = Field(4, ge=1, le=256, description="1 to 256 threads that read data files")
    direct_budget_bytes: int = Field(
        2 * _GIB, ge=0, description="0 or more: compressed bytes above which Trino reads history"
    )
    ahead_seconds: float = Field(
        3_600.0,
        ge=0,
        le=86_400,
        description="0 to 86400 seconds of the newest trades whose bars are made ahead",
    )
    scan_rows: int = Field(
        0, ge=0, description="0 (no limit) or more: rows of history that one answer may read"
    )
    trino_url: str = Field(
        "", pattern=r"^(https?://[^/:?#\s]+:\d{1,5})?$", description="http://host:port of Trino, or empty"
    )
    trino_user: str = Field("seamark", min_length=1, description="a user name")
    trino_catalog: str = Field(
        "lake", pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits, _"
    )

    auth: Literal["on", "off"] = Field("on", description="on, or off where only this machine can ask")
    keys_file: Path | None = Field(None, description="a file of API keys; needed unless auth is off")
    cursor_key: SecretStr = Field(
        SecretStr(""), description="16 or more characters, the same for all gateways, or empty"
    )
    quota_units_per_second: float = Field(200.0, gt=0, lt=1e12, description="more than 0 units a second")
    quota_burst: float = Field(5_000.0, gt=0, lt=1e12, description="more than 0 units")
    concurrent_beginnings: int = Field(
        32, ge=0, description="0 (no limit) or more: answers of all callers without a header yet"
    )
    quota_concurrency: int = Field(16, ge=1, le=100_000, description="1 to 100000 requests at a time")
    audit_file: Path | None = Field(None, description="a file for audit lines; unset: the service's log")

    default_rows: int = Field(1_000, ge=1, le=1_000_000, description="1 to 1000000 rows of a page of JSON")
    page_rows: int = Field(100_000, ge=1, le=1_000_000, description="1 to 1000000 rows of a page at most")
    export_rows: int = Field(50_000_000, ge=1, description="1 or more rows of an answer without pages")
    join_rows: int = Field(5_000_000, ge=1, description="1 or more rows read for one as-of join")
    body_bytes: int = Field(
        1024**2, ge=1024, le=64 * 1024**2, description="1024 to 67108864 bytes of a request"
    )
    timeout_seconds: float = Field(30.0, gt=0, le=3_600, description="more than 0 and at most 3600 seconds")
    most_timeout_seconds: float = Field(
        300.0, gt=0, le=3_600, description="more than 0 and at most 3600 seconds"
    )
    write_timeout_seconds: float = Field(
        30.0, gt=0, le=3_600, description="more than 0 and at most 3600 seconds"
    )

    @field_validator("cursor_key")
    @classmethod
    def _long_enough(cls, key: SecretStr) -> SecretStr:
        if 0 < len(key.get_secret_value().encode()) < 16:
            raise PydanticCustomError("cursor_key", "too short")
        return key

    @model_validator(mode="after")
    def _check(self) -> GatewaySettings:
        if self.tail_replication > len(self.tail_addresses):
            raise ValueError(
                f"SEAMARK_TAIL_REPLICATION was {self.tail_replication}, must be at most the number of "
                f"SEAMARK_TAIL_ADDRESSES ({len(self.tail_addresses)})"
            )
        if self.default_rows > self.page_rows:
            raise ValueError(
                f"SEAMARK_DEFAULT_ROWS was {self.default_rows}, must be at most SEAMARK_PAGE_ROWS "
                f"({self.page_rows})"
            )
        if self.timeout_seconds > self.most_timeout_seconds:
            raise ValueError(
                f"SEAMARK_TIMEOUT_SECONDS was {self.timeout_seconds:g}, must be at most "
                f"SEAMARK_MOST_TIMEOUT_SECONDS ({self.most_timeout_seconds:g})"
            )
        if self.auth == "on":
            if self.keys_file is None:
                raise ValueError(
                    "SEAMARK_KEYS_FILE is not set, must be a file of API keys while SEAMARK_AUTH is on"
                )
            return self
        for name, host in (("HTTP", self.http_host), ("GRPC", self.grpc_host)):
            if not _is_loopback(host):
                raise ValueError(
                    f"SEAMARK_{name}_HOST was {host!r}, must be a loopback address while SEAMARK_AUTH is off"
                )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
