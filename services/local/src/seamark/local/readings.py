"""What is going on: the services' metrics, the log's ends, and what the tables say of themselves."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from pyiceberg.catalog import Catalog

from seamark.lake.checkpoint import StreamPartition
from seamark.lake.errors import CatalogUnavailable, TableMissing
from seamark.lake.iceberg import IcebergTable
from seamark.lake.streams import open_streams
from seamark.lake.view import TableView
from seamark.market.schema import RecordKind

_ANSWER_SECONDS = 5.0

Samples = Mapping[tuple[str, tuple[str, ...]], float]
"""(name, label values in the order of their names) to value."""


@dataclass(frozen=True, slots=True)
class TableReading:
    """One table and its topic, all partitions together."""

    end: int
    """Records in the log."""
    processed: int
    """Of these: decoded and buffered, or committed."""
    committed: int
    """Of these: below the checkpoint."""
    rows: int
    duplicates: int
    refused: int
    files: int
    snapshots: int
    committed_age_seconds: float
    """Since the newest committed record was appended, in the partition that waits longest; 0: none waits."""

    @property
    def lag(self) -> int:
        """Records that the writer has not decoded yet."""
        return self.end - self.processed


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything, once."""

    at_seconds: float
    """Monotonic clock."""
    tables: Mapping[str, TableReading]
    buffered_rows: int | None
    """None while the writer does not answer."""
    commits: int
    commit_seconds: float
    """Mean duration of a commit since the writer started; 0 before the first."""
    frames_received: int
    frames_refused: int
    connections_opened: int

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def market_rows(self) -> int:
        """Rows of trades and quotes: what came over the connection."""
        return self.tables["trades"].rows + self.tables["quotes"].rows

    @property
    def drained(self) -> bool:
        """The writer has decoded all that the log holds."""
        return all(table.lag <= 0 for table in self.tables.values())


class Instruments:
    """Reads. Raises nothing for a service that does not answer: its last figures stay."""

    def __init__(
        self, bootstrap: str, catalog: Catalog, namespace: str, writer_url: str, leg_url: str
    ) -> None:
        # Ends are a consumer's question; this one joins no group.
        self._asker = Consumer({"bootstrap.servers": bootstrap, "group.id": "seamark-demo", "log_level": 2})
        self._tables = {kind.value: IcebergTable(catalog, namespace, kind.value) for kind in RecordKind}
        self._writer_url, self._leg_url = writer_url, leg_url
        self._leg: Samples = {}
        self._last: dict[str, TableReading] = {}

    def read(self) -> Reading:
        """A reading; takes about 0.1 s."""
        writer = _samples(self._writer_url)
        self._leg = _samples(self._leg_url) or self._leg
        for name, table in self._tables.items():
            try:
                self._last[name] = self._table(name, table.load(), writer)
            except (CatalogUnavailable, TableMissing, KafkaException):
                self._last.setdefault(name, _NOTHING)
        commits = _total(writer, "seamark_writer_commit_seconds_count")
        return Reading(
            at_seconds=time.monotonic(),
            tables=dict(self._last),
            buffered_rows=int(_total(writer, "seamark_writer_buffer_rows")) if writer else None,
            commits=int(commits),
            commit_seconds=_total(writer, "seamark_writer_commit_seconds_sum") / commits if commits else 0.0,
            frames_received=int(_total(self._leg, "seamark_ingestor_frames_received_total")),
            frames_refused=int(_total(self._leg, "seamark_ingestor_frames_refused_total")),
            connections_opened=int(_total(self._leg, "seamark_ingestor_connections_opened_total")),
        )

    def _table(self, name: str, view: TableView, writer: Samples) -> TableReading:
        now_us = time.time_ns() // 1000
        end = processed = committed = 0
        age_us = 0
        for stream in open_streams(view.streams).values():
            ends = self._ends(stream.topic, stream.partitions)
            for partition, start in enumerate(stream.start):
                point = view.checkpoints[StreamPartition(stream.stream_id, partition)]
                labels = (str(partition), name, stream.topic)
                buffered = int(writer.get(("seamark_writer_buffered_offset", labels), 0))
                end += ends[partition] - start
                processed += max(buffered, point.next) - start
                committed += point.next - start
                if point.next < ends[partition] and point.append_us:
                    age_us = max(age_us, now_us - point.append_us)
        head = view.handle.current_snapshot()
        summary = head.summary.additional_properties if head and head.summary else {}
        counters = [point.counters for point in view.checkpoints.values()]
        return TableReading(
            end=end,
            processed=processed,
            committed=committed,
            rows=sum(each.written for each in counters),
            duplicates=sum(each.duplicate for each in counters),
            refused=sum(each.dlq for each in counters),
            files=int(summary.get("total-data-files", 0)),
            snapshots=len(view.snapshots),
            committed_age_seconds=age_us / 1e6,
        )

    def _ends(self, topic: str, partitions: int) -> list[int]:
        return [
            self._asker.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_ANSWER_SECONDS, cached=False
            )[1]
            for partition in range(partitions)
        ]


_NOTHING = TableReading(0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def _samples(url: str) -> Samples:
    """The samples of a Prometheus page; none while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
            page = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def _total(samples: Samples, name: str) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)
