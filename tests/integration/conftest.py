"""The real engines, one of each for a whole run, and a topic and a namespace of its own for each test."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyiceberg.catalog import Catalog, load_catalog

from integration.market import Market, Spares, open_market
from seamark.local.engines import CatalogServer, EngineMissingError, KafkaNode, TrinoServer

_ADMIN_SECONDS = 20.0
_POLL_SECONDS = 0.05


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A running Kafka. A test that kills or pauses it leaves it running again."""
    node = KafkaNode(tmp_path_factory.mktemp("kafka"))
    node.start()
    yield node
    node.kill()  # its directory goes with it


@pytest.fixture(scope="session")
def catalog_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CatalogServer]:
    """A running object store and REST catalog. A test that kills or pauses it leaves it running again."""
    server = CatalogServer(tmp_path_factory.mktemp("catalog"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def trino_if_any(
    catalog_server: CatalogServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrinoServer | EngineMissingError]:
    """A running Trino over that catalog, or why there is none: no JDK or no jars can be had."""
    server = TrinoServer(tmp_path_factory.mktemp("trino"), catalog_server)
    try:
        server.start()
    except EngineMissingError as missing:
        yield missing
        return
    yield server
    server.kill()


@pytest.fixture(scope="session")
def trino(trino_if_any: TrinoServer | EngineMissingError) -> TrinoServer:
    """A running Trino over that catalog. Skips the test where none can be had."""
    if isinstance(trino_if_any, EngineMissingError):
        pytest.skip(str(trino_if_any))
    return trino_if_any


@pytest.fixture
def topic(kafka: KafkaNode) -> Callable[..., str]:
    """``topic("trades", partitions=4)`` makes a topic as the market topics are and returns its name."""

    def create(label: str = "topic", partitions: int = 1, **config: str) -> str:
        name = f"{label}.{uuid4().hex[:8]}"
        settings = {"message.timestamp.type": "LogAppendTime"} | {
            key.replace("_", "."): value for key, value in config.items()
        }
        # Kept in a variable: the futures fail when their client is collected.
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        created = admin.create_topics(
            [NewTopic(name, partitions, 1, config=settings)], operation_timeout=_ADMIN_SECONDS
        )
        created[name].result(_ADMIN_SECONDS)
        return name

    return create


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """``wait_until(condition, "what is awaited")`` polls; fails with that text after a deadline."""

    def wait(condition: Callable[[], bool], what: str, deadline_seconds: float = 60.0) -> None:
        deadline = time.monotonic() + deadline_seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"after {deadline_seconds:g} s still not true: {what}")
            time.sleep(_POLL_SECONDS)

    return wait


@dataclass(frozen=True, slots=True)
class Lake:
    """A namespace nobody else uses, and how to reach it from this and from other processes."""

    catalog: Catalog
    namespace: str
    properties: dict[str, str]
    state_uri: str


@pytest.fixture
def lake(catalog_server: CatalogServer) -> Lake:
    """A fresh namespace in the catalog."""
    namespace = f"test_{uuid4().hex[:8]}"
    properties = catalog_server.properties()
    catalog = load_catalog("lake", **properties)
    catalog.create_namespace(namespace)
    return Lake(catalog, namespace, properties, f"{catalog_server.state_uri}/{namespace}")


@pytest.fixture(scope="session")
def spares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spares]:
    """Processes of our services that have their imports behind them."""
    ahead = Spares(tmp_path_factory.mktemp("services"))
    yield ahead
    ahead.close()


@pytest.fixture
def market(kafka: KafkaNode, catalog_server: CatalogServer, spares: Spares) -> Iterator[Market]:
    """Topics and tables nobody else uses, initialised, and no writer yet."""
    with open_market(kafka, catalog_server, spares) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs engines: no file can forget to say so."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engines)
