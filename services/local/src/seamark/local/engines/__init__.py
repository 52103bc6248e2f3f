"""The real engines on one machine: Kafka, an object store with an Iceberg REST catalog, and Trino.

Each engine is a process of its own, bound to 127.0.0.1, with its data, its ports and its
log in one directory: starting it again on that directory resumes it. What an engine is
made of (versions, hashes, configuration) stands in ``engines/<name>/`` of the project.
"""

from seamark.local.engines.catalog import CatalogServer
from seamark.local.engines.errors import (
    EngineDiedError,
    EngineError,
    EngineMissingError,
    EngineNotReadyError,
    PortInUseError,
)
from seamark.local.engines.kafka import KafkaNode
from seamark.local.engines.together import start_together, stop_together
from seamark.local.engines.trino import TrinoServer

__all__ = [
    "CatalogServer",
    "EngineDiedError",
    "EngineError",
    "EngineMissingError",
    "EngineNotReadyError",
    "KafkaNode",
    "PortInUseError",
    "TrinoServer",
    "start_together",
    "stop_together",
]
