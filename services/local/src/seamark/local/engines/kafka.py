"""A Kafka broker of one node, in a directory that can be resumed."""

import base64
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from string import Template

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from seamark.local.engines.errors import EngineDiedError
from seamark.local.engines.jars import class_path
from seamark.local.engines.java import java_executable
from seamark.local.engines.paths import cache, manifest
from seamark.local.engines.ports import LOOPBACK, kept_ports, require_free
from seamark.local.engines.process import SupervisedProcess

_READY_SECONDS = 60.0  # 2 s when idle, 5 s after a kill; the rest is for a busy machine
_PROBE_SECONDS = 0.3
_STOP_GRACE_SECONDS = 15.0  # 0.5 s as a rule; it writes a clean-shutdown mark that saves recovery

# First answer after 2 s instead of 4, and a third less CPU in the first minute, which every
# other process of this machine wants at that time; peak throughput is not the aim here.
_JVM_OPTIONS = ("-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class KafkaNode:
    """Kafka (KRaft: broker and controller in one process) on loopback.

    Everything it keeps is in `directory`: its log segments, its ports, its cluster id, its
    log file. `start` on a directory used before resumes it, also after `kill`.
    """

    def __init__(
        self, directory: Path, port: int = 0, progress: Callable[[str], None] = lambda _: None
    ) -> None:
        """`port` is that of the clients' listener; 0 takes the one used last time, else a free one.

        `progress` gets a line for people when something takes long (the first start of a
        machine fetches the jars).
        """
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._ports = kept_ports(directory, ("broker", "controller"), {"broker": port})
        self._progress = progress
        self._process: SupervisedProcess | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for ``bootstrap.servers``. It stays the same over restarts."""
        return f"{LOOPBACK}:{self._ports['broker']}"

    @property
    def process(self) -> SupervisedProcess:
        """The broker's process, for pause, resume and its log. Raises RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError("Kafka was not started")
        return self._process

    def start(self) -> None:
        """Starts the broker and returns when it answers.

        Raises EngineMissingError, PortInUseError, EngineDiedError or EngineNotReadyError,
        each with what to do about it.
        """
        require_free("Kafka", self._ports, self.directory)
        properties = self._write_properties()
        java: list[str | Path] = [
            java_executable(),
            *_JVM_OPTIONS,
            f"-Dlog4j2.configurationFile={manifest('kafka', 'log4j2.xml')}",
            "-cp",
            class_path(manifest("kafka", "jars.lock"), cache("kafka") / "jars", self._progress),
        ]
        if not (self._log_dir / "meta.properties").exists():
            self._format(java, properties)
        self._process = SupervisedProcess(
            "Kafka", [*java, "kafka.Kafka", properties], self.directory / "kafka.log"
        )
        self._process.start()
        try:
            self._process.wait_ready(self._answers, _READY_SECONDS)
        except BaseException:  # Ctrl-C included: no half-started broker stays behind
            self._process.kill()
            raise

    def stop(self) -> None:
        """Stops it cleanly: the next start needs no recovery. Nothing if it does not run."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE_SECONDS)

    def kill(self) -> None:
        """kill -9. What it had acknowledged is there after the next `start`."""
        if self._process is not None:
            self._process.kill()

    @property
    def _log_dir(self) -> Path:
        return self.directory / "data"

    def _write_properties(self) -> Path:
        template = Template(manifest("kafka", "server.properties").read_text())
        file = self.directory / "server.properties"
        file.write_text(
            template.substitute(
                broker_port=self._ports["broker"],
                controller_port=self._ports["controller"],
                log_dir=self._log_dir,
            )
        )
        return file

    def _format(self, java: list[str | Path], properties: Path) -> None:
        # Kafka's own tool refuses an id that begins with a dash.
        cluster_id = "S" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        done = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise EngineDiedError(
                f"Kafka could not format {self._log_dir}: {(done.stderr or done.stdout).strip()}"
            )

    def _answers(self) -> bool:
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,  # refused connections are what is being waited through
                "reconnect.backoff.max.ms": 100,
            }
        )
        try:
            return bool(admin.list_topics(timeout=_PROBE_SECONDS).brokers)
        except KafkaException:
            return False
