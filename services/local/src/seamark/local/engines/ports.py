"""The ports an engine listens on: chosen once, then kept in its data directory."""

import errno
import json
import random
import socket
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from seamark.local.engines.errors import PortInUseError

LOOPBACK = "127.0.0.1"
_FILE_NAME = "ports.json"
# Below the range from which kernels give ports to outgoing connections (which is also what
# binding to port 0 gives): a port of that range can be lost to some client's connection
# while the engine is down between a kill and a restart. Port + 10,000 is below it as well,
# for engines that derive a second port so.
_CANDIDATES = range(20_000, 22_768)
_given: set[int] = set()
"""What this process has chosen: free until who it was chosen for listens, yet not to be chosen twice."""


def kept_ports(directory: Path, names: Sequence[str], wanted: Mapping[str, int]) -> dict[str, int]:
    """One port for each name: the wanted one, else the one used last time, else a free one.

    A wanted port of 0 means any. The choice is written to ``ports.json`` in `directory`, so
    that clients find a restarted engine where they left it.
    """
    file = directory / _FILE_NAME
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports = known | {name: port for name, port in wanted.items() if port}
    missing = [name for name in names if name not in ports]
    ports |= zip(missing, _free_ports(len(missing), taken=set(ports.values())), strict=True)
    chosen = {name: ports[name] for name in names}
    if chosen != known:
        file.write_text(json.dumps(chosen, indent=2) + "\n")
    return chosen


def require_free(engine: str, ports: Mapping[str, int], directory: Path) -> None:
    """Raises PortInUseError, naming port and setting, when one of the ports is taken."""
    for name, port in ports.items():
        if not is_free(port):
            raise PortInUseError(
                f"{engine}: port {port} ({name}) on {LOOPBACK} is in use by another process. "
                f"Either the engine already runs on {directory}, or something else took the port: "
                f"stop it, or change {name!r} in {directory / _FILE_NAME} "
                f"(deleting that file chooses free ports)"
            )


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Engines set the same option; without it a port whose last connections are still
        # in TIME_WAIT after a restart would be reported as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _free_ports(count: int, taken: set[int]) -> list[int]:
    candidates = [port for port in _CANDIDATES if port not in taken]
    random.shuffle(candidates)  # others on this machine choose from the same range
    candidates.sort(key=_given.__contains__)  # again only when all others are taken
    found = list(islice(filter(is_free, candidates), count))
    if len(found) < count:
        raise PortInUseError(
            f"fewer than {count} free ports on {LOOPBACK} from {_CANDIDATES[0]} to {_CANDIDATES[-1]}"
        )
    _given.update(found)
    return found
