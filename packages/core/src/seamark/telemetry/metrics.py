"""Every metric of Seamark: its name, unit, labels and what it says. There is no other place.

Names follow Prometheus: base units (seconds, bytes), `_total` on counters. A service makes its
group once and hands it to its parts; a test makes one on a registry of its own.
"""

from __future__ import annotations

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
