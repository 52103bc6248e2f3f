"""The processes between the engines and the terminal: how each is started and found ready."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from seamark.local.engines import CatalogServer, EngineDiedError, EngineNotReadyError, KafkaNode
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

    def __init__(self, folder: Path, kafka: KafkaNode, catalog: CatalogServer, source: Source) -> None:
        self._folder, self._source = folder, source
        ports = _metrics_ports(folder)
        self.writer_metrics_url = f"http://{LOOPBACK}:{ports['writer']}/metrics"
        self.leg_metrics_url = f"http://{LOOPBACK}:{ports['leg']}/metrics"
        self._leg_metrics_port = ports["leg"]
        self._bootstrap = kafka.bootstrap
        environment = _writer_environment(kafka, catalog, ports["writer"])
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

    def running(self) -> list[SupervisedProcess]:
        """The processes that were started to stay, dead or alive, in order of starting."""
        return [process for process in (self.writer, self.venue, self.leg) if process is not None]

    def kill(self) -> None:
        """kill -9 of whatever still runs."""
        for process in (self.leg, self.venue, self.writer, self._init):
            if process is not None:
                process.kill()

    def _process(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> SupervisedProcess:
        return SupervisedProcess(
            name, [sys.executable, "-m", *module], self._folder / f"{name}.log", environment
        )


def _writer_environment(kafka: KafkaNode, catalog: CatalogServer, metrics_port: int) -> dict[str, str]:
    properties = catalog.properties()
    settings = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "CATALOG_URI": properties["uri"],
        "CATALOG_WAREHOUSE": properties["warehouse"],
        "CATALOG_CREDENTIAL": properties["credential"],
        "CATALOG_OAUTH2_URI": properties["oauth2-server-uri"],
        "CATALOG_NAMESPACE": NAMESPACE,
        "S3_ENDPOINT": properties["s3.endpoint"],
        "S3_REGION": properties["s3.region"],
        "S3_ACCESS_KEY_ID": properties["s3.access-key-id"],
        "S3_SECRET_ACCESS_KEY": properties["s3.secret-access-key"],
        "STATE_URI": catalog.state_uri,
        "FLUSH_SECONDS": f"{FLUSH_SECONDS:g}",
        "METRICS_PORT": str(metrics_port),
    }
    return {f"SEAMARK_{name}": value for name, value in settings.items()}


def _metrics_ports(folder: Path) -> dict[str, int]:
    """Ports for the services' metrics; nobody depends on them staying the same."""
    directory = folder / "metrics"
    directory.mkdir(exist_ok=True)
    ports = kept_ports(directory, ("writer", "leg"), {})
    if all(map(is_free, ports.values())):
        return ports
    (directory / "ports.json").unlink()
    return kept_ports(directory, ("writer", "leg"), {})


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
