"""Real engines for a benchmark, on a folder that goes away, and what processes cost."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from seamark.local.engines import CatalogServer, KafkaNode, start_together, stop_together


@dataclass(frozen=True, slots=True)
class Engines:
    """Kafka and the catalog, started."""

    kafka: KafkaNode
    catalog: CatalogServer
    directory: Path

    def writer_environment(self, **settings: object) -> dict[str, str]:
        """Environment of a consumer-writer on these engines."""
        properties = self.catalog.properties()
        values: dict[str, object] = {
            "KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "CATALOG_URI": properties["uri"],
            "CATALOG_WAREHOUSE": properties["warehouse"],
            "CATALOG_CREDENTIAL": properties["credential"],
            "CATALOG_OAUTH2_URI": properties["oauth2-server-uri"],
            "S3_ENDPOINT": properties["s3.endpoint"],
            "S3_ACCESS_KEY_ID": properties["s3.access-key-id"],
            "S3_SECRET_ACCESS_KEY": properties["s3.secret-access-key"],
            "S3_REGION": properties["s3.region"],
            "STATE_URI": self.catalog.state_uri,
            **settings,
        }
        return os.environ | {f"SEAMARK_{name}": str(value) for name, value in values.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far of each engine with its children."""
        return {
            "kafka": cpu_seconds(psutil.Process(self.kafka.process.pid)),
            "catalog": cpu_seconds(psutil.Process(self.catalog.process.pid)),
        }


@contextmanager
def engines() -> Iterator[Engines]:
    """Start both on a temporary folder; stop them and delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="seamark-bench-") as name:
        directory = Path(name)
        kafka, catalog = KafkaNode(directory / "kafka"), CatalogServer(directory / "catalog")
        try:
            start_together([kafka, catalog])
            yield Engines(kafka, catalog, directory)
        finally:
            stop_together([kafka, catalog])


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def machine_facts() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": sys.version.split()[0],
        "system": platform.system(),
    }
