"""A real tail-cache process beside a test's market, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import polars as pl
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.market import Market
from integration.service import ServiceProcess
from seamark.lake.checkpoint import StreamPartition
from seamark.local.engines.ports import LOOPBACK
from seamark.market.schema import RecordKind, row_schema
from seamark.rpc.frames import decode
from seamark.rpc.v1 import tail_pb2, tail_pb2_grpc

_ANSWER_SECONDS = 30.0
_LABELS = ("table", "stream", "partition", "tier")


class TailProcess(ServiceProcess):
    """A tail-cache over the tables of a market. Ends with the `with` block."""

    service = "seamark.tail_cache"
    ports = ("grpc_port", "metrics_port")

    def __init__(self, market: Market, folder: Path, **settings: Any) -> None:
        super().__init__(
            market, folder, **{"spill_folder": folder / "spill", "pin_retention_seconds": 1} | settings
        )
        self._channel = grpc.insecure_channel(self.address, [("grpc.max_reconnect_backoff_ms", 200)])
        self._stub = tail_pb2_grpc.TailServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        super().__exit__()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.settings['grpc_port']}"

    # What it says

    def serving(self) -> bool:
        try:
            answer = self._health.Check(
                health_pb2.HealthCheckRequest(service="seamark.v1.TailService"), timeout=5
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def watermarks(self, kind: RecordKind = RecordKind.TRADES) -> tail_pb2.GetWatermarksResponse:
        return self._stub.GetWatermarks(
            tail_pb2.GetWatermarksRequest(table=kind.value), timeout=_ANSWER_SECONDS, wait_for_ready=True
        )

    def held(
        self, kind: RecordKind = RecordKind.TRADES
    ) -> dict[StreamPartition, tail_pb2.PartitionWatermark]:
        """By partition; empty where it does not answer."""
        try:
            marks = self.watermarks(kind).partitions
        except grpc.RpcError:
            return {}
        return {StreamPartition(mark.stream_id, mark.partition): mark for mark in marks}

    def caught_up(self, kind: RecordKind = RecordKind.TRADES, stream_id: int = 1) -> bool:
        """Whether it has read the log of the trades topic to its end."""
        reached = {
            where.partition: mark.hi
            for where, mark in self.held(kind).items()
            if where.stream_id == stream_id
        }
        return reached == self.market.ends()

    def await_caught_up(self, stream_id: int = 1) -> None:
        self.wait(lambda: self.caught_up(stream_id=stream_id), "it has read all of the log")

    def read(
        self,
        ranges: dict[StreamPartition, tuple[int, int | None]] | None = None,
        kind: RecordKind = RecordKind.TRADES,
        seconds: float = _ANSWER_SECONDS,
        **fields: Any,
    ) -> tuple[tail_pb2.ReadHeader, pl.DataFrame]:
        """(header, rows by partition and offset, text as text) of ranges, or of all that is held."""
        if ranges is None:
            ranges = {where: (0, None) for where in self.held(kind)}
        asked = [
            tail_pb2.ReadRange(
                stream_id=where.stream_id, partition=where.partition, from_offset=first, to_offset=next_
            )
            for where, (first, next_) in ranges.items()
        ]
        request = tail_pb2.ReadRangesRequest(table=kind.value, ranges=asked, **fields)
        first, *middle, last = self._stub.ReadRanges(request, timeout=seconds, wait_for_ready=True)
        assert first.header.epoch == last.trailer.epoch
        batches = list(decode(part.arrow for part in middle))
        empty = pl.DataFrame(row_schema(kind).empty_table()).select(fields.get("columns") or pl.all())
        rows = pl.concat([empty, *map(plain, batches)])
        assert len(rows) == last.trailer.rows
        return first.header, in_order(rows)

    def metrics(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a gauge or counter by table, stream, partition and tier, as far as it has these labels."""
        return {
            tuple(labels[label] for label in _LABELS if label in labels): value
            for labels, value in self.samples("metrics_port", f"seamark_tail_{name}")
        }


def plain(batch: Any) -> pl.DataFrame:
    """Text as text."""
    return pl.DataFrame(batch).with_columns(pl.col(pl.Categorical).cast(pl.String))


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("stream_id", "kafka_partition", "kafka_offset")


def committed_rows(market: Market, kind: RecordKind = RecordKind.TRADES) -> pl.DataFrame:
    """All rows of a table, by partition and offset."""
    table = market.catalog.load_table((market.namespace, kind.value))
    rows = pl.DataFrame(table.scan().to_arrow().select(row_schema(kind).names))
    contract = pl.DataFrame(row_schema(kind).empty_table())
    return in_order(rows.cast(contract.schema))
