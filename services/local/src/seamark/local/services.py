"""The processes between the engines and the terminal: how each is started and found ready."""

import json
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seamark.local.engines import (
    CatalogServer,
    EngineDiedError,
    EngineNotReadyError,
    KafkaNode,
    TrinoServer,
)
from seamark.local.engines.ports import LOOPBACK, is_free, kept_ports
from seamark.local.engines.process import SupervisedProcess
from seamark.local.source import Source

NAMESPACE = "market"
FLUSH_SECONDS = 5.0

_READY_SECONDS = 60.0  # 3 s when idle, most of it Python's imports
_ANSWER_SECONDS = 2.0
_POLL_SECONDS = 0.05


class Services:
    """Writer, venue and leg of one run, each a supervised process with its log in `folder`."""

    def __init__(
        self,
        folder: Path,
        kafka: KafkaNode,
        catalog: CatalogServer,
        trino: TrinoServer | None,
        source: Source,
    ) -> None:
        """`trino`: None where the gateway reads history by itself alone."""
        self._folder, self._source = folder, source
        ports = _free_ports(folder)
        self.writer_metrics_url = f"http://{LOOPBACK}:{ports['writer']}/metrics"
        self.leg_metrics_url = f"http://{LOOPBACK}:{ports['leg']}/metrics"
        self.api_url = f"http://{LOOPBACK}:{ports['http']}"
        self._leg_metrics_port = ports["leg"]
        self._tail_address = f"{LOOPBACK}:{ports['tail']}"
        self._bootstrap = kafka.bootstrap
        lake = _lake_environment(kafka, catalog)
        environment = lake | _settings(FLUSH_SECONDS=f"{FLUSH_SECONDS:g}", METRICS_PORT=str(ports["writer"]))
        self.tail = self._process(
            "tail",
            ["seamark.tail_cache"],
            lake | _settings(GRPC_PORT=str(ports["tail"]), SPILL_FOLDER=str(folder / "tail-spill")),
        )
        self.gateway = self._process(
            "gateway",
            ["seamark.query_gateway", "run"],
            lake
            | _settings(
                HTTP_PORT=str(ports["http"]),
                GRPC_PORT=str(ports["grpc"]),
                TAIL_ADDRESSES=self._tail_address,
                AUTH="off",
                CURSOR_KEY=_kept_secret(folder / "cursor-key"),
                TRINO_URL="" if trino is None else "http://{}:{}".format(*trino.address),
            ),
        )
        self._init = self._process("init", ["seamark.consumer_writer", "init"], environment)
        self.writer = self._process("writer", ["seamark.consumer_writer", "run"], environment)
        self.venue: SupervisedProcess | None = None
        self.leg: SupervisedProcess | None = None

    @property
    def journals(self) -> list[Path]:
        """All that the simulator ever wrote down in this folder."""
        return sorted(self._folder.glob("venue-journal*.jsonl"))

    def initialise(self) -> None:
        """Topics, tables, streams, routing; nothing where they are. Raises EngineDiedError."""
        self._init.start()
        while self._init.exit_code is None:
            time.sleep(_POLL_SECONDS)
        if self._init.exit_code == 0:
            return
        raise EngineDiedError(
            f"consumer-writer init ended with code {self._init.exit_code}. "
            f"The end of {self._init.log_path}:\n{self._init.log_tail()}"
        )

    def start_writer(self) -> None:
        """Returns at once; `await_writer` waits."""
        self.writer.start()

    def await_writer(self) -> None:
        """Raises EngineDiedError or EngineNotReadyError."""
        self.writer.wait_ready(lambda: _get(self.writer_metrics_url) is not None, _READY_SECONDS)

    def start_readers(self) -> None:
        """Starts tail and gateway; returns at once, `await_readers` waits."""
        self.tail.start()
        self.gateway.start()

    def await_readers(self) -> None:
        """Raises EngineDiedError or EngineNotReadyError."""
        self.tail.wait_ready(self._tail_serves, _READY_SECONDS)
        self.gateway.wait_ready(lambda: _get(f"{self.api_url}/readyz") is not None, _READY_SECONDS)

    def _tail_serves(self) -> bool:
        with grpc.insecure_channel(self._tail_address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def start_venue(self, malformed_interval_seconds: float) -> None:
        """Starts the simulator and returns when it listens. Nothing for the live exchange."""
        if self._source.live:
            return
        port_file = self._folder / "venue-port"
        port_file.unlink(missing_ok=True)
        arguments = ["seamark.simulator", "--port-file", str(port_file)]
        arguments += ["--journal", str(self._folder / "venue-journal.jsonl")]
        arguments += ["--state", str(self._folder / "venue-state.json")]
        arguments += ["--malformed-interval-seconds", f"{malformed_interval_seconds:g}"]
        if self._source.recording is not None:
            arguments += ["--recording", str(self._source.recording)]
        self.venue = self._process("venue", arguments, {})
        self.venue.start()
        self.venue.wait_ready(lambda: _read_port(port_file) is not None, _READY_SECONDS)

    def start_leg(self) -> None:
        """Starts the leg and returns when its first connection stands."""
        environment = {
            "SEAMARK_KAFKA_BOOTSTRAP": self._bootstrap,
            "SEAMARK_METRICS_PORT": str(self._leg_metrics_port),
        }
        if self.venue is not None:
            address = f"{LOOPBACK}:{_read_port(self._folder / 'venue-port')}"
            environment |= {
                "SEAMARK_VENUE_WS_URL": f"ws://{address}",
                "SEAMARK_VENUE_REST_URL": f"http://{address}",
                "SEAMARK_SYMBOLS": ",".join(_symbols(f"http://{address}")),
            }
        self.leg = self._process("leg", ["seamark.ingestor"], environment)
        self.leg.start()
        self.leg.wait_ready(lambda: _connected(_get(self.leg_metrics_url)), _READY_SECONDS)

    def symbols(self) -> list[str]:
        """What the simulator trades; of the live exchange, what the leg takes by itself."""
        if self.venue is None:
            return []
        return _symbols(f"http://{LOOPBACK}:{_read_port(self._folder / 'venue-port')}")

    def running(self) -> list[SupervisedProcess]:
        """The processes that were started to stay, dead or alive, in order of starting."""
        started = (self.writer, self.tail, self.gateway, self.venue, self.leg)
        return [process for process in started if process is not None]

    def kill(self) -> None:
        """kill -9 of whatever still runs."""
        for process in (self.leg, self.venue, self.gateway, self.tail, self.writer, self._init):
            if process is not None:
                process.kill()

    def _process(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> SupervisedProcess:
        return SupervisedProcess(
            name, [sys.executable, "-m", *module], self._folder / f"{name}.log", environment
        )


def _lake_environment(kafka: KafkaNode, catalog: CatalogServer) -> dict[str, str]:
    properties = catalog.properties()
    return _settings(
        KAFKA_BOOTSTRAP=kafka.bootstrap,
        CATALOG_URI=properties["uri"],
        CATALOG_WAREHOUSE=properties["warehouse"],
        CATALOG_CREDENTIAL=properties["credential"],
        CATALOG_OAUTH2_URI=properties["oauth2-server-uri"],
        CATALOG_NAMESPACE=NAMESPACE,
        S3_ENDPOINT=properties["s3.endpoint"],
        S3_REGION=properties["s3.region"],
        S3_ACCESS_KEY_ID=properties["s3.access-key-id"],
        S3_SECRET_ACCESS_KEY=properties["s3.secret-access-key"],
        STATE_URI=catalog.state_uri,
    )


def _settings(**settings: str) -> dict[str, str]:
    return {f"SEAMARK_{name}": value for name, value in settings.items()}


def _free_ports(folder: Path) -> dict[str, int]:
    """Ports of the services: those of the last run where nobody else has taken one."""
    directory = folder / "services"
    directory.mkdir(exist_ok=True)
    names = ("writer", "leg", "tail", "http", "grpc")
    ports = kept_ports(directory, names, {})
    if all(map(is_free, ports.values())):
        return ports
    (directory / "ports.json").unlink()
    return kept_ports(directory, names, {})


def _kept_secret(file: Path) -> str:
    """A secret of this folder: cursors of an earlier run stay good."""
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


def _get(url: str) -> str | None:
    """The body of a page, or None while it is not there."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def _read_port(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):  # not there, or not wholly written yet
        return None


def _symbols(rest_url: str) -> list[str]:
    """What the simulator trades: the generator's symbols, or the recording's."""
    page = _get(f"{rest_url}/api/v3/exchangeInfo")
    if page is None:
        raise EngineNotReadyError(f"the simulator at {rest_url} does not state its symbols")
    return [symbol["symbol"] for symbol in json.loads(page)["symbols"]]


def _connected(page: str | None) -> bool:
    lines = (page or "").splitlines()
    return any(
        line.startswith("seamark_ingestor_connections_opened_total ") and not line.endswith(" 0.0")
        for line in lines
    )
