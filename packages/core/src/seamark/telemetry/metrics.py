"""Every metric of Seamark: its name, unit, labels and what it says. There is no other place.

Names follow Prometheus: base units (seconds, bytes), `_total` on counters. A service makes its
group once and hands it to its parts; a test makes one on a registry of its own.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COMMIT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SKEW_SECONDS = (-5, -1, -0.25, -0.05, -0.01, 0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve `registry` over HTTP from a daemon thread; port 0: not at all. Raises OSError if taken."""
    if port:
        start_http_server(port, host, registry)


class IngestorMetrics:
    """Leg: from the venue's frame to Kafka's acknowledgement."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.frames_received = Counter(
            "seamark_ingestor_frames_received_total",
            "Frames received from the venue, refused ones included.",
            registry=registry,
        )
        self.records_acked = Counter(
            "seamark_ingestor_records_acked_total",
            "Records of every kind that Kafka has acknowledged.",
            registry=registry,
        )
        self.frames_refused = Counter(
            "seamark_ingestor_frames_refused_total",
            "Frames that the contract does not allow; they are in the dead-letter topic.",
            registry=registry,
        )
        self.publish_failures = Counter(
            "seamark_ingestor_publish_failures_total",
            "Records that Kafka did not take; each ends the session it came through.",
            registry=registry,
        )
        self.connections_opened = Counter(
            "seamark_ingestor_connections_opened_total",
            "WebSocket connections opened, the first one included.",
            registry=registry,
        )
        self.reconnects = Counter(
            "seamark_ingestor_reconnects_total",
            "Connections lost, or attempts failed, that were followed by another attempt.",
            ["cause"],
            registry=registry,
        )
        self.receive_to_ack_seconds = Histogram(
            "seamark_ingestor_receive_to_ack_seconds",
            "From receiving a frame to Kafka's acknowledgement, sampled.",
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )
        self.event_to_receive_seconds = Histogram(
            "seamark_ingestor_event_to_receive_seconds",
            "Receive time minus the venue's publish time, sampled; negative: the clocks disagree.",
            buckets=_SKEW_SECONDS,
            registry=registry,
        )
        self.unacked_records = Gauge(
            "seamark_ingestor_unacked_records",
            "Records handed to the producer and not acknowledged yet.",
            registry=registry,
        )


class WriterMetrics:
    """Consumer-writer: from the log to committed rows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows_written = Counter(
            "seamark_writer_rows_written_total", "Rows in landed commits.", ["table"], registry=registry
        )
        self.duplicates = Counter(
            "seamark_writer_duplicates_total",
            "Records that first occurrence turned away, in landed commits.",
            ["table"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "seamark_writer_dead_letters_total",
            "Records that fail under their schema, in landed commits.",
            ["table"],
            registry=registry,
        )
        self.commits = Counter(
            "seamark_writer_commits_total", "Commits that landed.", ["table"], registry=registry
        )
        self.commit_seconds = Histogram(
            "seamark_writer_commit_seconds",
            "From the first attempt of a commit to its end, whatever that is.",
            ["table"],
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self.commit_attempts = Counter(
            "seamark_writer_commit_attempts_total",
            "Attempts of commits: committed, found_landed, fenced, or the error that another attempt follows.",
            ["table", "outcome"],
            registry=registry,
        )
        self.fenced = Counter(
            "seamark_writer_fenced_total",
            "Batches dropped because another writer had moved the checkpoint.",
            ["table"],
            registry=registry,
        )
        self.buffer_bytes = Gauge(
            "seamark_writer_buffer_bytes", "Decoded and not committed yet.", ["table"], registry=registry
        )
        self.buffer_rows = Gauge(
            "seamark_writer_buffer_rows", "Decoded and not committed yet.", ["table"], registry=registry
        )
        self.checkpoint_offset = Gauge(
            "seamark_writer_checkpoint_offset",
            "H: next offset that the table's checkpoint names.",
            ["table", "stream", "partition"],
            registry=registry,
        )
        self.buffered_offset = Gauge(
            "seamark_writer_buffered_offset",
            "Next offset to decode, as committed for the consumer group.",
            ["table", "topic", "partition"],
            registry=registry,
        )


class TailMetrics:
    """Tail-cache: what is held of the log, and how old what waits in it is.

    Ages and offsets are here and not in the writer's group: a dead writer's own series die with it.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, labelnames=("table", "stream", "partition", "tier"), registry=registry)
        self.end_offset = gauge("seamark_tail_end_offset", "The log's end: next offset to be written.")
        self.checkpoint_offset = gauge(
            "seamark_tail_checkpoint_offset", "H: next offset that the table's checkpoint names."
        )
        self.processed_offset = gauge(
            "seamark_tail_processed_offset",
            "Next offset that the writers' group will decode; NaN: it has said nothing.",
        )
        self.committed_age_seconds = gauge(
            "seamark_tail_committed_age_seconds",
            "Time since the oldest record was appended that is not committed; 0: none is.",
        )
        self.processed_age_seconds = gauge(
            "seamark_tail_processed_age_seconds",
            "Time since the oldest record was appended that no writer has decoded; 0: none is, NaN: unknown.",
        )
        self.admitted = gauge(
            "seamark_tail_admitted",
            "1: the writers read this partition's tier, 0: they defer it, NaN: they have not said.",
        )
        self.low_offset = gauge("seamark_tail_low_offset", "First offset held.")
        self.high_offset = gauge("seamark_tail_high_offset", "Next offset to observe.")
        self.reading = gauge(
            "seamark_tail_reading",
            "1: the partition is read, 0: it is held or wanted and not read; the log says why.",
        )
        self.by_partition = (
            self.end_offset,
            self.checkpoint_offset,
            self.processed_offset,
            self.committed_age_seconds,
            self.processed_age_seconds,
            self.admitted,
            self.low_offset,
            self.high_offset,
            self.reading,
        )
        """Their series go when a partition does."""
        of_table = partial(Gauge, labelnames=("table",), registry=registry)
        self.rows = of_table("seamark_tail_rows", "Rows held.")
        self.memory_bytes = of_table(
            "seamark_tail_memory_bytes", "Taken by rows in memory and their indexes."
        )
        self.spilled_bytes = of_table("seamark_tail_spilled_bytes", "Taken by rows on disk.")
        self.drops = Counter(
            "seamark_tail_drops_total",
            "Partitions thrown away before their rows were committed; each is begun anew from the table.",
            ["table"],
            registry=registry,
        )
        self.counter_mismatches = Counter(
            "seamark_tail_counter_mismatches_total",
            "Partitions whose counters differed from a commit's: tail or writer is wrong.",
            ["table"],
            registry=registry,
        )
        self.begins = Counter(
            "seamark_tail_begins_total",
            "Partitions begun from a checkpoint, at the start and after each drop.",
            ["table"],
            registry=registry,
        )
        self.catalog_age_seconds = of_table(
            "seamark_tail_catalog_age_seconds", "Time since the table was last loaded."
        )
        self.table_unusable = of_table(
            "seamark_tail_table_unusable",
            "1: the table was rolled back or has a foreign snapshot; its checkpoints are not followed.",
        )
        self.ready = Gauge(
            "seamark_tail_ready", "1: past the ends that were seen at start.", registry=registry
        )
        self.reads = Counter(
            "seamark_tail_reads_total",
            "Requests for rows, by how they ended.",
            ["table", "outcome"],
            registry=registry,
        )
        self.reads_under_way = Gauge(
            "seamark_tail_reads_under_way", "Requests for rows, waiting ones included.", registry=registry
        )
        self.read_seconds = Histogram(
            "seamark_tail_read_seconds",
            "From a request for rows to the end of the answer, waiting included.",
            ["table"],
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )
        self.append_to_queryable_seconds = Histogram(
            "seamark_tail_append_to_queryable_seconds",
            "From a record's append to its row being there to ask for: the oldest of each batch and partition.",
            ["table"],
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )


class GatewayMetrics:
    """Query-gateway: questions, answers, and what it had to say of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "seamark_gateway_requests_total",
            "Requests by what became of them, as HTTP status; an answer that broke off counts by its error.",
            ["edge", "endpoint", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "seamark_gateway_request_seconds",
            "From the request to the last byte of its answer, slow readers included.",
            ["edge", "endpoint"],
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )
        self.header_seconds = Histogram(
            "seamark_gateway_header_seconds",
            "From the request to the answer's header: S pinned, E fixed, the first rows there.",
            ["edge", "endpoint"],
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )
        self.rows = Counter(
            "seamark_gateway_rows_total", "Rows given.", ["edge", "endpoint"], registry=registry
        )
        self.sent_bytes = Counter(
            "seamark_gateway_sent_bytes_total",
            "Bytes of answers given.",
            ["edge", "endpoint"],
            registry=registry,
        )
        self.answers = Counter(
            "seamark_gateway_answers_total",
            "Answers begun, by who read history and whether they were exact, partial or doubtful.",
            ["engine", "outcome"],
            registry=registry,
        )
        self.running = Gauge("seamark_gateway_running", "Requests being answered.", registry=registry)
        self.quota_refusals = Counter(
            "seamark_gateway_quota_refusals_total", "Requests over a quota or a cap.", registry=registry
        )
        self.auth_failures = Counter(
            "seamark_gateway_auth_failures_total", "Requests without a key that is known.", registry=registry
        )
        self.audit_dropped = Counter(
            "seamark_gateway_audit_dropped_total",
            "Audit lines that were not written because the disk was too slow.",
            registry=registry,
        )
