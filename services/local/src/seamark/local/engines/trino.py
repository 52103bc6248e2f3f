"""A Trino server of one node over the lake of a `CatalogServer`. Optional: it needs a JDK of the machine."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import requests

from seamark.local.engines.catalog import CatalogServer
from seamark.local.engines.errors import EngineDiedError
from seamark.local.engines.jars import jar_files
from seamark.local.engines.jdk import require_jdk25
from seamark.local.engines.paths import cache, manifest
from seamark.local.engines.ports import LOOPBACK, kept_ports, require_free
from seamark.local.engines.process import SupervisedProcess

_READY_SECONDS = 180.0  # 10 s when idle, 20 s of CPU; the rest is for a busy machine
_ANSWER_SECONDS = 10.0
_STOP_GRACE_SECONDS = 10.0  # 0.2 s as a rule
_MAIN_CLASS = "StartTrino"
_PLUGIN_SERVICE = ("META-INF/services/io.trino.spi.Plugin", "io.trino.plugin.iceberg.IcebergPlugin\n")


class TrinoServer:
    """Trino (coordinator and worker in one process) on loopback; the lake is its catalogue ``lake``.

    It stores nothing itself: `directory` holds its port, its log file, and what is put together
    anew at each start.
    """

    def __init__(
        self,
        directory: Path,
        catalog: CatalogServer,
        port: int = 0,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`port` is that of HTTP; 0 takes the one used last time, else a free one.

        `catalog` has to run when a query names the lake, not before. `progress` gets a line for
        people when something takes long (each start; the first of a machine fetches the jars).
        """
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._lake = catalog.properties()
        self._ports = kept_ports(directory, ("http",), {"http": port})
        self._progress = progress
        self._process: SupervisedProcess | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its HTTP interface. They stay the same over restarts."""
        return LOOPBACK, self._ports["http"]

    @property
    def process(self) -> SupervisedProcess:
        """The server's process, for pause, resume and its log. Raises RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError("Trino was not started")
        return self._process

    def start(self) -> None:
        """Starts the server and returns when it has answered a query.

        Raises EngineMissingError (also when the machine has no JDK that will do), PortInUseError,
        EngineDiedError or EngineNotReadyError, each with what to do about it.
        """
        jdk = require_jdk25()
        require_free("Trino", self._ports, self.directory)
        jars = cache("trino") / "jars"
        server_jars = jar_files(manifest("trino", "server.jars.lock"), jars, self._progress)
        plugin_jars = jar_files(manifest("trino", "iceberg.jars.lock"), jars, self._progress)
        temporary = self._emptied("tmp")
        self._process = SupervisedProcess(
            "Trino",
            [
                jdk / "bin" / "java",
                f"@{manifest('trino', 'jvm.options')}",
                f"-Djava.io.tmpdir={temporary}",
                f"-Dconfig={manifest('trino', 'config.properties')}",
                f"-Dlog.levels-file={manifest('trino', 'log.properties')}",
                "-cp",
                os.pathsep.join(map(str, [*server_jars, self._compile_main(jdk, server_jars)])),
                _MAIN_CLASS,
            ],
            self.directory / "trino.log",
            environment=self._environment(self._link_plugin(plugin_jars)),
        )
        self._progress("starting Trino: 10 s, longer where other work goes on")
        self._process.start()
        try:
            self._process.wait_ready(self._answers, _READY_SECONDS)
        except BaseException:  # Ctrl-C included: no half-started server stays behind
            self._process.kill()
            raise

    def stop(self) -> None:
        """Stops it; queries that run fail. Nothing if it does not run."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE_SECONDS)

    def kill(self) -> None:
        """kill -9. There is nothing in it to lose but the queries that run."""
        if self._process is not None:
            self._process.kill()

    def _environment(self, plugins: Path) -> dict[str, str]:
        """What ``config.properties`` and ``lake.properties`` name as ``${ENV:...}``."""
        return {
            "TRINO_PORT": str(self._ports["http"]),
            "TRINO_PLUGINS": str(plugins),
            "TRINO_CATALOGS": str(manifest("trino", "catalog")),
            "LAKE_URI": self._lake["uri"],
            "LAKE_WAREHOUSE": self._lake["warehouse"],
            "LAKE_CREDENTIAL": self._lake["credential"],
            "LAKE_OAUTH2_SERVER_URI": self._lake["oauth2-server-uri"],
            "LAKE_S3_ENDPOINT": self._lake["s3.endpoint"],
            "LAKE_S3_REGION": self._lake["s3.region"],
            "LAKE_S3_ACCESS_KEY": self._lake["s3.access-key-id"],
            "LAKE_S3_SECRET_KEY": self._lake["s3.secret-access-key"],
            "NO_COLOR": "1",  # its log goes to a file
        }

    def _compile_main(self, jdk: Path, server_jars: list[Path]) -> Path:
        classes = self._emptied("classes")
        source = manifest("trino", f"{_MAIN_CLASS}.java")
        # With all jars to look through the compiler takes twice as long.
        [needed] = [jar for jar in server_jars if jar.name.startswith("trino-main-")]
        done = subprocess.run(
            [jdk / "bin" / "javac", "-cp", needed, "-d", classes, source],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise EngineDiedError(f"{jdk}/bin/javac could not compile {source}: {done.stderr.strip()}")
        return classes

    def _link_plugin(self, jars: list[Path]) -> Path:
        """The folder of plugins. Trino loads every jar it finds there, so it is laid out anew."""
        plugins = self._emptied("plugin")
        iceberg = plugins / "iceberg"
        iceberg.mkdir()
        for jar in jars:
            (iceberg / jar.name).symlink_to(jar)
        with zipfile.ZipFile(iceberg / "services.jar", "w") as services:
            services.writestr(*_PLUGIN_SERVICE)
        return plugins

    def _emptied(self, name: str) -> Path:
        folder = self.directory / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _answers(self) -> bool:
        host, port = self.address
        base = f"http://{host}:{port}/v1"
        try:
            if requests.get(f"{base}/info", timeout=_ANSWER_SECONDS).json()["starting"]:
                return False
            answer = requests.post(
                f"{base}/statement",
                data="SELECT 1",
                headers={"X-Trino-User": "launcher"},
                timeout=_ANSWER_SECONDS,
            ).json()
            while "nextUri" in answer:  # the client's protocol: one page after another
                answer = requests.get(answer["nextUri"], timeout=_ANSWER_SECONDS).json()
        except (requests.ConnectionError, requests.Timeout, requests.JSONDecodeError):
            return False  # not listening yet; busy; a page of the HTTP server while it starts
        return bool(answer["stats"]["state"] == "FINISHED")
